"""Golden sets: checkpoints in the authors' layout, opened as any model is, against what the authors' code gave.

`GOLDEN_DIR=<folder> pytest -m golden` takes other sets of that layout: a folder of sets, or one set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from api import Sightline
from api.settings import Settings
from indexer.build import Builder
from indexer.sources.folder import open_folder
from retrieval.evaluation.benchmark import Choice, benchmark
from retrieval.evaluation.measured import Direction, Tally
from retrieval.evaluation.pages import IMAGES, TEXTS, Found, scores
from retrieval.evaluation.run import run
from retrieval.models.authors import resized_positions
from retrieval.models.blip import BlipAnswerer, BlipCaptioner
from retrieval.models.checkpoints import Checkpoint
from retrieval.models.load import load_answerer, load_captioner, load_encoder, load_matcher
from retrieval.models.preprocess import normalise, pre_caption, pre_caption_albef, pre_question, resize
from retrieval.models.resolve import resolve
from retrieval.models.retriever import Retriever
from retrieval.pictures import ImageTokens
from retrieval.rerank import Reranker
from retrieval.types import Float32, UInt8
from storage import galleries, items
from storage.items import Item
from storage.lease import write_lease

pytestmark = pytest.mark.golden

SIMILARITY, LOGIT, STATE, SAME = 2e-6, 5e-6, 5e-6, 1e-6
NOT_SCORED = -100.0

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent.parent / "golden")
RETRIEVAL = ("ALBEF retrieval", "BLIP retrieval", "BLIP-2 stage-1")
TALKING = ("BLIP caption", "BLIP VQA")


def sets_of(folder: Path) -> list[Path]:
    """All sets below a folder, or the folder itself where it is one."""
    if (folder / "inputs.npz").is_file():
        return [folder]
    return sorted(place.parent for place in folder.glob("*/inputs.npz"))


def kind_of(place: Path) -> str:
    """What a set says it is; the one of preprocessing has no model."""
    if (place / "texts.json").is_file():
        return "preprocess"
    stated = json.loads((place / "config.json").read_text())
    return str(stated.get("model") or place.name)


def of_kinds(*kinds: str, having: str | None = None) -> list[Any]:
    """The sets of some kinds as parameters of a test; of those alone that have an array whose name begins so."""
    places = [place for place in sets_of(FOLDER) if kind_of(place).startswith(kinds)]
    return [pytest.param(place, id=place.name) for place in places if having is None or has_array(place, having)]


def has_array(place: Path, beginning: str) -> bool:
    """Whether a set holds such an array of the authors' code."""
    with np.load(place / "outputs.npz") as outputs:
        return any(name.startswith(beginning) for name in outputs.files)


@dataclass(frozen=True)
class Golden:
    """A set and the model opened from it."""

    place: Path
    config: dict[str, Any]
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]
    checkpoint: Checkpoint
    model: Retriever

    @property
    def similarities(self) -> NDArray[np.float32]:
        """Of every picture with every text, `[n, m]`."""
        images = self.model.project_images(self.tokens).numpy()
        return np.einsum("nvd,md->nmv", images, self.model.encode_texts(self.config["texts"])).max(axis=2)

    @property
    def tokens(self) -> torch.Tensor:
        """Of the set's pictures."""
        return self.model.look(torch.tensor(self.inputs["pixel_values"]))

    @property
    def every_pair(self) -> NDArray[np.int64]:
        """Rows of pictures and texts, `[n * m, 2]`."""
        images, texts = self.outputs["sim_itc"].shape
        return np.array([(image, text) for image in range(images) for text in range(texts)], dtype=np.int64)


@pytest.fixture(scope="module")
def opened(request: pytest.FixtureRequest) -> Golden:
    place: Path = request.param
    checkpoint = resolve(str(place))
    encoder = load_encoder(checkpoint, device="cpu", offline=True)
    assert isinstance(encoder, Retriever)
    config = json.loads((place / "config.json").read_text())
    with np.load(place / "inputs.npz") as inputs, np.load(place / "outputs.npz") as outputs:
        return Golden(place, config, dict(inputs), dict(outputs), checkpoint, encoder)


every_retrieval = pytest.mark.parametrize("opened", of_kinds(*RETRIEVAL), indirect=True)


def close(got: Any, want: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=tolerance)


def test_the_folder_holds_golden_sets() -> None:
    assert sets_of(FOLDER), f"no golden sets in {FOLDER}"


@pytest.mark.parametrize("place", [pytest.param(place, id=place.name) for place in sets_of(FOLDER)])
def test_every_set_is_of_a_family_that_is_built(place: Path) -> None:
    kind = kind_of(place)
    if not kind.startswith((*RETRIEVAL, *TALKING, "preprocess")):
        pytest.xfail(f"missing: nothing here can be compared with {place.name} yet ({kind})")


@every_retrieval
def test_texts_become_the_authors_ids(opened: Golden) -> None:
    asked = opened.inputs["input_ids"]
    own = [opened.model.encoder_ids(text) for text in opened.config["texts"]]
    padded = [ids + [opened.model.vocabulary.pad] * (asked.shape[1] - len(ids)) for ids in own]
    assert padded == asked.tolist()
    if "enc_input_ids" in opened.inputs:
        matched = [opened.model.matcher_ids(text) for text in opened.config["texts"]]
        assert [ids[0] for ids in matched] == opened.inputs["enc_input_ids"][:, 0].tolist()


@every_retrieval
def test_image_tokens_are_the_authors(opened: Golden) -> None:
    close(opened.tokens, opened.outputs["image_embeds"], STATE)


@every_retrieval
def test_image_embeddings_are_the_authors_and_not_those_of_the_momentum_twin(opened: Golden) -> None:
    got, wanted = opened.model.project_images(opened.tokens).numpy(), opened.outputs
    close(
        got if "image_feats" in wanted else got[:, 0], wanted.get("image_feats", wanted.get("image_feat")), SIMILARITY
    )
    if "image_feat_m" in wanted:
        assert np.abs(got[:, 0] - wanted["image_feat_m"]).max() > 1e-3


@every_retrieval
def test_text_embeddings_are_the_authors(opened: Golden) -> None:
    close(opened.model.encode_texts(opened.config["texts"]), opened.outputs["text_feat"], SIMILARITY)
    if "text_feat_m" in opened.outputs:
        got = opened.model.encode_texts(opened.config["texts"])
        assert np.abs(got - opened.outputs["text_feat_m"]).max() > 1e-3


@every_retrieval
def test_similarities_are_the_authors(opened: Golden) -> None:
    close(opened.similarities, opened.outputs["sim_itc"], SIMILARITY)
    if "itc_api" in opened.outputs:
        close(opened.similarities, opened.outputs["itc_api"], SIMILARITY)


@every_retrieval
def test_match_logits_are_the_authors(opened: Golden) -> None:
    logits = opened.model.match(opened.tokens.numpy(), opened.config["texts"], opened.every_pair)
    close(logits.reshape(opened.outputs["itm_logits"].shape), opened.outputs["itm_logits"], LOGIT)
    if "itm_score" in opened.outputs:
        close(logits[:, 1].reshape(opened.outputs["itm_score"].shape), opened.outputs["itm_score"], LOGIT)


@every_retrieval
def test_a_pair_has_the_same_logits_whatever_shares_its_batch(opened: Golden) -> None:
    tokens, texts = opened.tokens.numpy(), opened.config["texts"]
    together = opened.model.match(tokens, texts, opened.every_pair)
    alone = [opened.model.match(tokens[i : i + 1], [texts[j]], np.array([[0, 0]])) for i, j in opened.every_pair]
    close(together, np.concatenate(alone), SAME)
    ids, mask = (torch.tensor(opened.inputs[name]) for name in ("input_ids", "attention_mask"))
    padded = opened.model.project_texts(ids, mask)
    close(np.concatenate([opened.model.encode_texts([text]) for text in texts]), padded.numpy(), SAME)


@pytest.mark.parametrize("opened", of_kinds(*RETRIEVAL, having="itm_logits_cls_token"), indirect=True)
def test_with_cls_in_front_blip_s_logits_are_those_of_its_demo(opened: Golden) -> None:
    """The authors' demo class never writes [ENC]: the same weights, other numbers."""
    wanted = opened.outputs["itm_logits_cls_token"]
    ids, mask = (torch.tensor(opened.inputs[name]) for name in ("input_ids", "attention_mask"))
    images, texts = (torch.tensor(column) for column in opened.every_pair.T)
    close(opened.model.compare(opened.tokens[images], ids[texts], mask[texts]).reshape(wanted.shape), wanted, LOGIT)
    assert np.abs(wanted - opened.outputs["itm_logits"]).max() > 1e-2


@pytest.mark.parametrize("opened", of_kinds(*RETRIEVAL, having="video_feat"), indirect=True)
def test_frames_of_a_video_are_matched_as_the_authors_do(opened: Golden) -> None:
    """BLIP's zero-shot video retrieval: frames' embeddings averaged before normalising, their tokens in a row."""
    wanted = opened.outputs
    frames = torch.tensor(opened.inputs["video_frames"])
    tokens = torch.stack([opened.model.look(video) for video in frames])
    network: Any = opened.model.network
    with torch.inference_mode():
        projected = network.vision_proj(tokens[:, :, 0]).mean(dim=1)
    videos = torch.nn.functional.normalize(projected, dim=-1).numpy()
    close(videos, wanted["video_feat"], SIMILARITY)
    texts = opened.config["video_texts"]
    pairs = np.array([(video, text) for video in range(len(videos)) for text in range(len(texts))], dtype=np.int64)
    logits = opened.model.match(tokens.flatten(1, 2).numpy(), texts, pairs)[:, 1].reshape(len(videos), len(texts))
    scores = logits + videos @ opened.model.encode_texts(texts).T
    for name, matrix in (("video_score_v2t", scores), ("video_score_t2v", scores.T)):
        scored = wanted[name] > NOT_SCORED
        close(matrix[scored], wanted[name][scored], LOGIT)


@pytest.mark.parametrize("opened", of_kinds(*RETRIEVAL, having="pos_embed_resized_"), indirect=True)
def test_position_embeddings_are_resized_as_the_authors_do(opened: Golden) -> None:
    positions = opened.model.network.vision_model.embeddings.position_embedding
    for name, wanted in opened.outputs.items():
        if name.startswith("pos_embed_resized_"):
            close(resized_positions(positions, int(name.rsplit("x", 1)[-1])), wanted, SAME)


@every_retrieval
def test_a_model_opened_at_another_size_has_resized_positions(opened: Golden, tmp_path: Path) -> None:
    place = copied(opened.place, tmp_path / "larger")
    stated = opened.config | {"vit": opened.config["vit"] | {"image_size": 5 * opened.config["vit"]["patch_size"]}}
    (place / "config.json").write_text(json.dumps(stated))
    model: Any = load_encoder(resolve(str(place)), device="cpu", offline=True)
    assert model.image_size == 5 * opened.config["vit"]["patch_size"]
    positions = opened.model.network.vision_model.embeddings.position_embedding
    close(model.network.vision_model.embeddings.position_embedding, resized_positions(positions, 5).numpy(), SAME)


class Fed:
    """Encoder and matcher that are given the golden pixel values and ids, and look at nothing else.

    A picture of one colour stands for the row of `pixel_values` that its red says, a text for the row of its ids.
    """

    name = "golden"

    def __init__(self, golden: Golden) -> None:
        self.model = golden.model
        self.values = torch.tensor(golden.inputs["pixel_values"])
        self.mask = torch.tensor(golden.inputs["attention_mask"])
        self.ids = torch.tensor(golden.inputs["input_ids"])
        self.matched = torch.tensor(golden.inputs.get("enc_input_ids", golden.inputs["input_ids"]))
        self.rows = {text: row for row, text in enumerate(golden.config["texts"])}
        self.fingerprint, self.dimension, self.vectors = "golden", golden.model.dimension, golden.model.vectors

    def prepare(self, image: Image.Image) -> UInt8:
        return np.array(image.resize((1, 1)), dtype=np.uint8)

    def unknown_words(self, text: str) -> list[str]:
        return []

    def _look(self, pixels: UInt8) -> torch.Tensor:
        return self.model.look(self.values[torch.tensor(pixels[:, 0, 0, 0].astype(np.int64))])

    def encode_images(self, pixels: UInt8) -> Float32:
        return np.asarray(self.model.project_images(self._look(pixels)))

    def image_tokens(self, pixels: UInt8) -> Float32:
        return np.asarray(self._look(pixels))

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        rows = [self.rows[text] for text in texts]
        return np.asarray(self.model.project_texts(self.ids[rows], self.mask[rows]))

    def match(self, tokens: Float32, texts: Sequence[str], pairs: NDArray[np.int64]) -> Float32:
        rows = [self.rows[texts[j]] for j in pairs[:, 1]]
        return np.asarray(self.model.compare(torch.tensor(tokens[pairs[:, 0]]), self.matched[rows], self.mask[rows]))


class Silent:
    """Progress that nobody watches."""

    def begin(self, what: str, total: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Sightline]:
    opened = Sightline(settings=Settings(home=tmp_path / "home", offline=True))
    yield opened
    opened.close()


@every_retrieval
def test_an_evaluation_run_gives_the_authors_score_matrices(opened: Golden, library: Sightline, tmp_path: Path) -> None:
    fed = Fed(opened)
    folder = painted(opened, tmp_path / "golden")
    found, directions = evaluated(opened, fed, library, folder)
    pictures, texts = items_of(library, "image"), items_of(library, "text")
    columns = {item.id: fed.rows[item.text or ""] for item in texts}
    rows = {item.id: int(item.uri.rsplit("/", 1)[-1].removesuffix(".png")) for item in pictures}
    sides = {TEXTS: (rows, columns, "i2t"), IMAGES: (columns, rows, "t2i")}
    for direction, (asked, answers, name) in sides.items():
        matrix = np.full((len(asked), len(answers)), NOT_SCORED)
        for one in found[direction]:
            places = [answers[item] for item in one.candidates["item"].tolist()]
            matrix[asked[one.query], places] = scores(one.candidates, opened.checkpoint.protocol)
            similarity = opened.outputs["sim_itc"]
            wanted = similarity if name == "i2t" else similarity.T
            close(one.candidates["similarity"], wanted[asked[one.query], places], SIMILARITY)
        close(matrix, opened.outputs[f"score_matrix_{name}"], LOGIT)
    stated = opened.config.get("itm_eval") or opened.config["metrics"]
    for direction, short in ((TEXTS, "txt"), (IMAGES, "img")):
        for k in (1, 5, 10):
            assert directions[direction].authors["after"][f"recall@{k}"] == pytest.approx(stated[f"{short}_r{k}"] / 100)
        assert directions[direction].after.measures["recall@1"] == pytest.approx(stated[f"{short}_r1"] / 100)  # type: ignore[union-attr]


def evaluated(
    opened: Golden, fed: Fed, library: Sightline, folder: Path
) -> tuple[dict[str, list[Found]], dict[str, Direction]]:
    """Index the golden pictures and texts by the golden arrays, and run the evaluation that users run."""
    wiring = library.wiring
    with wiring.database.writing() as session:
        gallery = galleries.create(session, "golden")
        sizes = {"dimension": fed.dimension, "vectors": fed.vectors}
        gallery = galleries.fix_model(session, gallery, model="golden", fingerprint="golden", **sizes)
    builder = Builder(wiring.database, wiring.snapshots, gallery, fed, Silent(), pixel_limit=10**6, batch=3, threads=1)
    with write_lease(wiring.database, gallery) as holder:
        builder.run(open_folder(folder), holder=holder)
    tokens = ImageTokens(fed, wiring.originals, cache_bytes=1 << 20, batch=3)
    with wiring.database.reading() as session:
        images, texts = (wiring.snapshots.newest(session, gallery, kind) for kind in ("image", "text"))
        bench = benchmark(session, images, texts, Choice())
    k, scoring = opened.config["k_test"], opened.checkpoint.protocol
    found: dict[str, list[Found]] = {IMAGES: [], TEXTS: []}
    for one in run(bench, fed, Reranker(fed, tokens, scoring), candidates=k):
        found[one.direction].append(one)
    measured = {}
    for direction, some in found.items():
        pool = bench.folds[0].pool(direction)
        tally = Tally(direction, items=pool.items, scoring=scoring, is_reranked=True, candidates=k)
        for one in some:
            tally.add(one, bench.folds[0].right[direction][one.query], np.sort(pool.parts[0].ids))
        measured[direction] = tally.measured()
    return found, measured


def painted(opened: Golden, folder: Path) -> Path:
    """A picture of one colour for each golden one, and a captions.jsonl with the golden pairs."""
    folder.mkdir()
    texts = opened.config["texts"]
    lines = []
    for row in range(len(opened.inputs["pixel_values"])):
        Image.new("RGB", (4, 4), (row, 0, 0)).save(folder / f"{row}.png")
        own = [texts[j] for j in opened.config["img2txt"][str(row)]]
        lines.append(json.dumps({"file": f"{row}.png", "texts": own}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def items_of(library: Sightline, kind: str) -> list[Item]:
    """All items of a kind of the golden gallery."""
    with library.wiring.database.reading() as session:
        return items.embedded(session, galleries.by_name(session, "golden").id, kind)


def copied(place: Path, into: Path) -> Path:
    """A set whose configuration may be written anew; the large files are the same ones."""
    into.mkdir()
    for file in place.iterdir():
        (into / file.name).symlink_to(file) if file.suffix in (".pth", ".pt") else (into / file.name).write_bytes(
            file.read_bytes()
        )
    return into


@pytest.mark.parametrize("place", of_kinds("BLIP caption"))
def test_a_captioner_opens_from_the_authors_file_and_sees_the_same(place: Path) -> None:
    captioner = load_captioner(resolve(str(place)), device="cpu", offline=True)
    assert isinstance(captioner, BlipCaptioner)
    with np.load(place / "inputs.npz") as inputs, np.load(place / "outputs.npz") as outputs:
        close(captioner.look(torch.tensor(inputs["pixel_values"])), outputs["image_embeds"], STATE)
        assert captioner.prompt.tolist()[0] == inputs["prompt_ids"][0].tolist()


@pytest.mark.parametrize("place", of_kinds("BLIP VQA"))
def test_an_answerer_opens_from_the_authors_file_and_finds_the_same_in_a_picture(place: Path) -> None:
    answerer = load_answerer(resolve(str(place)), device="cpu", offline=True)
    assert isinstance(answerer, BlipAnswerer)
    with np.load(place / "inputs.npz") as inputs, np.load(place / "outputs.npz") as outputs:
        tokens = answerer.look(torch.tensor(inputs["pixel_values"]))
        ids, mask = (torch.tensor(inputs[name]) for name in ("question_ids", "question_mask"))
        states = answerer.ask(tokens, ids, mask).numpy()
        read = mask.bool().numpy()  # behind the padding there is nothing to compare
        close(states[read], outputs["question_states"][read], STATE)


@pytest.mark.parametrize("place", of_kinds("preprocess"))
def test_pictures_are_prepared_as_the_authors_do_bit_for_bit(place: Path) -> None:
    with np.load(place / "inputs.npz") as inputs, np.load(place / "outputs.npz") as outputs:
        for name, wanted in outputs.items():
            image, side = name.rsplit("_r", 1)
            values = normalise(resize(Image.fromarray(inputs[image]), int(side))[None])
            np.testing.assert_array_equal(values[0].numpy(), wanted)


@pytest.mark.parametrize("place", of_kinds("preprocess"))
def test_texts_are_cleaned_as_the_authors_do(place: Path) -> None:
    for text in json.loads((place / "texts.json").read_text()):
        assert pre_caption_albef(text["raw"]) == text["albef_pre_caption_30"]
        assert pre_caption(text["raw"]) == text["blip_pre_caption_50"]
        assert pre_caption(text["raw"], max_words=30) == text["blip_pre_caption_30"]
        assert pre_question(text["raw"]) == text["blip_pre_question_50"]


@every_retrieval
def test_a_matcher_of_a_golden_set_is_its_encoder(opened: Golden) -> None:
    assert load_matcher(opened.checkpoint, device="cpu", offline=True) is opened.model
