"""BLIP-2 against the golden numbers of the authors' own classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from api import Sightline
from api.settings import Settings
from retrieval.models.blip2 import Blip2Generator, Blip2Retrieval, pair_states
from retrieval.models.load import load_answerer, load_captioner, load_encoder, load_matcher
from retrieval.models.resolve import resolve
from retrieval.training.sibling.forward import ask, tell
from retrieval.training.sibling.qformer import WordHead
from retrieval.types import UInt8

GOLDEN = Path(__file__).parent.parent / "golden"
SIMILARITY = 2e-6
LOGIT = 5e-6
EVERY_PAIR = np.array([(image, text) for image in range(4) for text in range(8)], dtype=np.int64)


def close(got: Any, want: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=tolerance)


def pictures(count: int, *, side: int = 42) -> UInt8:
    return np.random.default_rng(7).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture
def model(qformer_set: Any) -> Blip2Retrieval:
    return Blip2Retrieval.open(qformer_set.folder, name="golden", device="cpu")


@pytest.fixture
def generator(opt_set: Any) -> Blip2Generator:
    return Blip2Generator.open(opt_set.folder, name="golden", device="cpu")


@pytest.fixture
def tokens(model: Blip2Retrieval, qformer_set: Any) -> torch.Tensor:
    return model.look(torch.tensor(qformer_set.inputs["pixel_values"]))


def test_image_tokens_are_the_authors_with_two_epsilons(
    model: Blip2Retrieval, tokens: torch.Tensor, qformer_set: Any
) -> None:
    close(tokens, qformer_set.outputs["image_embeds"], LOGIT)
    model.network.vision_model.post_layernorm.eps = 1e-6  # as transformers has it
    wrong = model.look(torch.tensor(qformer_set.inputs["pixel_values"]))
    assert np.abs(wrong.numpy() - qformer_set.outputs["image_embeds"]).max() > LOGIT


def test_every_query_has_a_vector_and_they_are_the_authors(
    model: Blip2Retrieval, tokens: torch.Tensor, qformer_set: Any
) -> None:
    close(model.project_images(tokens), qformer_set.outputs["image_feats"], SIMILARITY)


def test_text_embeddings_are_the_authors_although_nothing_is_padded_to_35(
    model: Blip2Retrieval, qformer_set: Any
) -> None:
    close(model.encode_texts(qformer_set.config["texts"]), qformer_set.outputs["text_feat"], SIMILARITY)


def test_itc_similarity_is_the_maximum_over_the_queries(
    model: Blip2Retrieval, tokens: torch.Tensor, qformer_set: Any
) -> None:
    texts = model.encode_texts(qformer_set.config["texts"])
    products = np.einsum("nvd,md->nmv", model.project_images(tokens).numpy(), texts)
    close(products, qformer_set.outputs["sim_q2t"], SIMILARITY)
    close(products.max(axis=2), qformer_set.outputs["sim_itc"], SIMILARITY)


def test_match_logits_are_the_authors_mean_over_the_queries(
    model: Blip2Retrieval, tokens: torch.Tensor, qformer_set: Any
) -> None:
    logits = model.match(tokens.numpy(), qformer_set.config["texts"], EVERY_PAIR)
    close(logits.reshape(4, 8, 2), qformer_set.outputs["itm_logits"], LOGIT)
    close(logits.reshape(4, 8, 2)[:, :, 1], qformer_set.outputs["itm_score"], LOGIT)


def test_logit_and_similarity_add_up_to_the_authors_score(
    model: Blip2Retrieval, tokens: torch.Tensor, qformer_set: Any
) -> None:
    texts = qformer_set.config["texts"]
    logits = model.match(tokens.numpy(), texts, EVERY_PAIR).reshape(4, 8, 2)[:, :, 1]
    cosines = np.einsum("nvd,md->nmv", model.project_images(tokens).numpy(), model.encode_texts(texts)).max(axis=2)
    for wanted in (qformer_set.outputs["score_matrix_i2t"], qformer_set.outputs["score_matrix_t2i"].T):
        judged = wanted > -100  # the authors rerank the best of each row and leave the others at -100
        assert judged.sum() >= 8
        close((logits + cosines)[judged], wanted[judged], LOGIT)


def test_queries_that_read_a_text_are_the_authors(
    model: Blip2Retrieval, tokens: torch.Tensor, qformer_set: Any
) -> None:
    ids, mask = (torch.tensor(qformer_set.inputs[name][:2]) for name in ("input_ids", "attention_mask"))
    with torch.inference_mode():
        states = pair_states(model.network, tokens[:2], ids, mask)
    close(states, qformer_set.outputs["multimodal_embeds"], LOGIT)


def test_told_words_have_the_authors_logits(model: Blip2Retrieval, tokens: torch.Tensor, qformer_set: Any) -> None:
    state = torch.load(GOLDEN / "blip2_qformer" / "checkpoint.pth", map_location="cpu", weights_only=True)["model"]
    of_head = {"dense.weight", "dense.bias", "norm.weight", "norm.bias", "bias"}
    names = {key: key.replace("dense", "transform.dense").replace("norm", "transform.LayerNorm") for key in of_head}
    head = WordHead(model.network.embeddings.word_embeddings)
    head.load_state_dict({key: state[f"Qformer.cls.predictions.{name}"] for key, name in names.items()})
    ids, mask = (torch.tensor(qformer_set.inputs[name]) for name in ("caption_ids", "caption_mask"))
    with torch.inference_mode():
        states = tell(model.network, ask(model.network, tokens), ids)
        logits = head(states, model.network.embeddings.word_embeddings.weight)
    read = mask.bool().numpy()  # behind the padding there is nothing to compare
    close(logits.numpy()[read], qformer_set.outputs["lm_logits"][read], 1e-5)


def test_prepared_pictures_go_the_same_way_as_normalised_ones(model: Blip2Retrieval) -> None:
    pixels = pictures(3)
    embeddings = model.encode_images(pixels)
    assert embeddings.shape == (3, model.vectors, model.dimension) == (3, 6, 24)
    assert embeddings.dtype == np.float32
    close(embeddings, np.asarray(model.project_images(torch.tensor(model.image_tokens(pixels)))), 1e-6)
    close(np.linalg.norm(embeddings, axis=2), np.ones((3, 6)), 1e-6)


def test_the_same_pair_gets_the_same_score_whatever_shares_its_batch(model: Blip2Retrieval, qformer_set: Any) -> None:
    texts = qformer_set.config["texts"]
    tokens = model.image_tokens(pictures(10))
    pairs = np.array([(image, text) for image in range(10) for text in range(8)], dtype=np.int64)
    together = model.match(tokens, texts, pairs)
    alone = [model.match(tokens[i : i + 1], [texts[t]], np.zeros((1, 2), dtype=np.int64))[0] for i, t in pairs[::5]]
    close(together[::5], np.array(alone), 2e-6)
    close(model.encode_texts(texts), np.concatenate([model.encode_texts([text]) for text in texts]), 1e-6)
    one_by_one = [model.encode_images(picture[None])[0] for picture in pictures(20)]
    close(model.encode_images(pictures(20)), np.array(one_by_one), 1e-6)


def test_nothing_in_gives_nothing_out(model: Blip2Retrieval) -> None:
    tokens = model.image_tokens(pictures(0))
    assert tokens.shape == (0, 10, 56)
    assert model.encode_images(pictures(0)).shape == (0, 6, 24)
    assert model.encode_texts([]).shape == (0, 24)
    assert model.match(tokens, [], np.zeros((0, 2), dtype=np.int64)).shape == (0, 2)


def test_the_vocabulary_has_dec_and_no_enc(model: Blip2Retrieval) -> None:
    assert model.vocabulary.dec == 86
    with pytest.raises(KeyError):
        _ = model.vocabulary.enc
    assert model.unknown_words("a Zebra, dog!") == ["Zebra"]


def test_the_prefix_of_the_language_model_is_the_authors(generator: Blip2Generator, opt_set: Any) -> None:
    looked = generator.look(torch.tensor(opt_set.inputs["pixel_values"]))
    close(generator.prefix(looked), opt_set.outputs["inputs_opt"], LOGIT)


def test_the_language_models_logits_behind_the_prefix_are_the_authors(generator: Blip2Generator, opt_set: Any) -> None:
    network = generator.network
    ids, mask = (torch.tensor(opt_set.inputs[name]) for name in ("train_ids", "train_mask"))
    with torch.inference_mode():
        prefix = generator.prefix(generator.look(torch.tensor(opt_set.inputs["pixel_values"])))
        embedded = torch.cat([prefix, network.get_input_embeddings()(ids)], dim=1)
        whole = torch.cat([torch.ones(prefix.shape[:2], dtype=torch.long), mask], dim=1)
        logits = network.language_model(inputs_embeds=embedded, attention_mask=whole).logits
    read = whole.bool().numpy()  # behind the padding there is nothing to compare
    close(logits.numpy()[read], opt_set.outputs["logits"][read], 1e-5)


def test_captions_begin_with_the_authors_prompt(generator: Blip2Generator, opt_set: Any) -> None:
    bos = generator.network.config.text_config.bos_token_id
    assert [bos, *generator.spelling.encode("a photo of")] == opt_set.inputs["prompt_ids"][0].tolist()


def test_greedy_texts_stop_at_the_newline_as_the_authors_do(generator: Blip2Generator, opt_set: Any) -> None:
    looked = generator.look(torch.tensor(opt_set.inputs["pixel_values"]))
    assert opt_set.outputs["gen_greedy"][:, 1].tolist() == [59] * 3  # the newline at once
    assert generator.go_on(looked, "a photo of", {"num_beams": 1, "max_new_tokens": 8}) == ["", "", ""]


def test_a_question_longer_than_the_authors_limit_loses_its_end(generator: Blip2Generator) -> None:
    looked = generator.look(torch.zeros(1, 3, 42, 42))
    settings = {"num_beams": 1, "max_new_tokens": 3}
    words = ["dog"] * 31  # and the first token make 32
    cut, whole = (generator.go_on(looked, " ".join(some), settings) for some in ([*words, *["cat"] * 4000], words))
    assert cut == whole
    assert len(generator.answer(pictures(1), "a/b," * 4000)) == 1  # one word of 50, however long


def test_captions_and_answers_come_one_for_each_picture_and_say_nothing_on_the_side(
    generator: Blip2Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    captions = generator.caption(pictures(18))
    assert len(captions) == 18
    assert captions[17] == generator.caption(pictures(18)[17:])[0]
    answers = generator.answer(pictures(18), "What color is the dog?")
    assert len(answers) == 18
    assert answers[17] == generator.answer(pictures(18)[17:], "What color is the dog?")[0]
    assert capfd.readouterr() == ("", "")


def test_threads_that_share_a_model_get_what_one_gets(
    model: Blip2Retrieval, generator: Blip2Generator, qformer_set: Any
) -> None:
    texts = qformer_set.config["texts"]

    def work(_: int) -> tuple[NDArray[np.float32], list[str]]:
        return model.encode_texts(texts), generator.caption(pictures(2))

    embeddings, captions = work(0)
    with ThreadPoolExecutor(4) as pool:
        for some, said in pool.map(work, range(8)):
            close(some, embeddings, 1e-6)
            assert said == captions


def test_a_folder_of_two_parts_plays_all_roles_with_two_networks(parts: Path) -> None:
    checkpoint = resolve(str(parts))
    assert (checkpoint.family, checkpoint.image_size) == ("blip2", 42)
    assert checkpoint.roles == ("encoder", "matcher", "captioner", "answerer")
    encoder = load_encoder(checkpoint, device="cpu", offline=True)
    assert load_matcher(checkpoint, device="cpu", offline=True) is encoder
    captioner = load_captioner(checkpoint, device="cpu", offline=True)
    assert load_answerer(checkpoint, device="cpu", offline=True) is captioner


@pytest.fixture
def parts(qformer_set: Any, opt_set: Any, tmp_path: Path) -> Path:
    """One model of two parts: the matcher's and the language model's golden weights."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "itm").symlink_to(qformer_set.folder)
    (tmp_path / "model" / "llm").symlink_to(opt_set.folder)
    return tmp_path / "model"


@pytest.fixture
def library(parts: Path, qformer_set: Any, tmp_path: Path) -> Iterator[Sightline]:
    """A gallery of twelve pictures with a text each, indexed by that model."""
    folder = tmp_path / "noise"
    folder.mkdir()
    lines = []
    for number, pixels in enumerate(pictures(12)):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        texts = qformer_set.config["texts"]
        lines.append({"file": f"{number:02}.png", "texts": [f"{texts[number % 8]} {['two', 'three'][number // 8]}"]})
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    opened = Sightline(settings=Settings(home=tmp_path / "home", offline=True))
    opened.index(folder, gallery="noise", model=str(parts))
    yield opened
    opened.close()


def name(hit: Any) -> str:
    return str(hit.uri.rsplit("/", 1)[-1])


def test_the_first_stage_finds_what_the_best_of_six_vectors_is_closest_to(
    library: Sightline, model: Blip2Retrieval
) -> None:
    page = library.search("noise", "green cat on street", k=12, rerank=False)
    cosines = np.einsum("nvd,d->nv", model.encode_images(pictures(12)), model.encode_texts(["green cat on street"])[0])
    best = np.argsort(-cosines.max(axis=1))
    assert [name(hit) for hit in page] == [f"{number:02}.png" for number in best]
    close([hit.itc_similarity for hit in page], cosines.max(axis=1)[best], 1e-6)
    assert [f"{number:02}.png" for number in np.argsort(-cosines[:, 0])] != [name(hit) for hit in page]


def test_the_second_stage_orders_by_logit_and_similarity(library: Sightline, model: Blip2Retrieval) -> None:
    page = library.search("noise", "green cat on street", k=12)
    assert page.stages == "itc+itm"
    numbers = [int(name(hit)[:2]) for hit in page]
    tokens = model.image_tokens(pictures(12)[numbers])
    rows = np.array([(row, 0) for row in range(12)], dtype=np.int64)
    close([hit.itm_logit for hit in page], model.match(tokens, ["green cat on street"], rows)[:, 1], 2e-6)
    scores = [hit.itm_logit + hit.itc_similarity for hit in page]
    assert scores == sorted(scores, reverse=True)


def test_a_picture_of_six_vectors_finds_itself_first_alone_and_with_a_text(library: Sightline, tmp_path: Path) -> None:
    page = library.search("noise", image=tmp_path / "noise" / "07.png", k=3)
    assert name(page.hits[0]) == "07.png"
    assert page.hits[0].itc_similarity == pytest.approx(1, abs=1e-5)
    both = library.search("noise", "green cat", image=tmp_path / "noise" / "07.png", k=3)
    assert (both.stages, len(both)) == ("itc+itm", 3)


def test_lookup_captions_and_answers_go_the_same_way(library: Sightline, model: Blip2Retrieval, tmp_path: Path) -> None:
    page = library.lookup(tmp_path / "noise" / "04.png", "noise", k=12, rerank=False)
    vectors = model.encode_images(pictures(12)[4:5])[0]
    wanted = [float((vectors @ model.encode_texts([hit.text or ""])[0]).max()) for hit in page]
    close([hit.itc_similarity for hit in page], np.array(wanted), 1e-6)
    assert wanted == sorted(wanted, reverse=True)
    hit = library.search("noise", "a dog", k=1).hits[0]
    assert library.ask(hit.id).text
    assert library.ask(hit.id, "what color is the dog?").item_id == hit.id


def test_an_evaluation_measures_both_directions(library: Sightline, model: Blip2Retrieval, tmp_path: Path) -> None:
    evaluated = library.evaluate("noise")
    assert [one.queries for one in evaluated.directions] == [12, 12]
    lines = (tmp_path / "noise" / "captions.jsonl").read_text().splitlines()
    texts = [json.loads(line)["texts"][0] for line in lines]
    cosines = np.einsum("nvd,md->mnv", model.encode_images(pictures(12)), model.encode_texts(texts)).max(axis=2)
    first = np.mean(cosines.argmax(axis=1) == np.arange(12))
    assert evaluated.directions[0].before["recall@1"] == pytest.approx(first)
