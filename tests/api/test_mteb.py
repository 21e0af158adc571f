"""Sightline as a model of mteb: tasks made in memory of twelve postcards, evaluated without a network."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api import Sightline
from api.errors import UsageError
from api.mteb import SightlineModel
from retrieval.training.world.captions import fullest_claim, some_claim
from retrieval.training.world.claims import claim_text
from retrieval.training.world.galleries import gallery_scenes
from retrieval.training.world.render import save_postcard

IS_HERE = find_spec("mteb") is not None
needs_mteb = pytest.mark.skipif(not IS_HERE, reason="mteb is not installed: pip install sightline[mteb]")

Qrels = dict[str, dict[str, int]]
Make = Callable[..., SightlineModel]
CANDIDATES = 10
"""Two of twelve postcards are not reranked."""


@pytest.fixture(autouse=True)
def _offline(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "mteb"))


@pytest.fixture
def make() -> Iterator[Make]:
    """Make models that are closed in the end."""
    made: list[SightlineModel] = []

    def of(model: str = "postcards", **settings: Any) -> SightlineModel:
        made.append(SightlineModel(model, **settings))
        return made[-1]

    yield of
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def postcards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve postcards, each with its full caption and with one that says less, and may be true of others."""
    folder = tmp_path_factory.mktemp("mteb") / "postcards"
    folder.mkdir()
    rng = random.Random(3)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as lines:
        for number, scene in enumerate(gallery_scenes(12, seed=5)):
            save_postcard(scene, folder / f"{number:02d}.png")
            texts = [claim_text(fullest_claim(scene)), claim_text(some_claim(scene, rng))]
            lines.write(json.dumps({"file": f"{number:02d}.png", "texts": texts}) + "\n")
    return folder


def said(folder: Path) -> list[tuple[str, list[str]]]:
    lines = (json.loads(line) for line in (folder / "captions.jsonl").read_text("utf-8").splitlines())
    return [(line["file"], line["texts"]) for line in lines]


def rows_of_pictures(pictures: Sequence[tuple[str, bytes]]) -> Any:
    from datasets import Dataset, Features, Value
    from datasets import Image as Picture

    rows = [{"id": name, "image": {"bytes": content, "path": None}} for name, content in pictures]
    return Dataset.from_list(rows, features=Features({"id": Value("string"), "image": Picture()}))


def rows_of_texts(texts: Sequence[tuple[str, str]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"id": name, "text": text} for name, text in texts])


def a_colour(colour: tuple[int, int, int]) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def a_task(category: str, queries: Any, corpus: Any, qrels: Qrels, top_ranked: Any = None) -> Any:
    """A retrieval task of mteb whose data are in memory."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Task(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Small{category.upper()}",
            description="A few pictures and texts.",
            dataset={"path": "nobody/nothing", "revision": "1"},
            type="Any2AnyRetrieval",
            category=category,
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            modalities=["text", "image"],
        )

        def load_data(self, **_: Any) -> None:
            split = {"queries": queries, "corpus": corpus, "relevant_docs": qrels, "top_ranked": top_ranked}
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Task()


def task_of(folder: Path, category: str) -> Any:
    """The folder's pairs as a task; as in a gallery of it, equal texts are one."""
    found = said(folder)
    texts = {text: f"t{i}" for i, text in enumerate(dict.fromkeys(text for _, some in found for text in some))}
    pictures = rows_of_pictures([(name, (folder / name).read_bytes()) for name, _ in found])
    documents = rows_of_texts([(name, text) for text, name in texts.items()])
    qrels: Qrels = {}
    for name, some in found:
        for text in some:
            query, right = (texts[text], name) if category == "t2i" else (name, texts[text])
            qrels.setdefault(query, {})[right] = 1
    sides = (documents, pictures) if category == "t2i" else (pictures, documents)
    return a_task(category, *sides, qrels)


def measured(model: SightlineModel, task: Any) -> dict[str, float]:
    import mteb

    result = mteb.evaluate(model, [task], cache=None, co2_tracker=False, show_progress_bar=False)
    return dict(result.task_results[0].scores["test"][0])


def run(model: SightlineModel, task: Any, *, top_k: int = 1000) -> dict[str, dict[str, float]]:
    """What mteb's evaluator asks of a model, without the measures."""
    task.load_data()
    split = task.dataset["default"]["test"]
    known = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default", "num_proc": None}
    quiet = {"show_progress_bar": False}
    model.index(split["corpus"], encode_kwargs=quiet, **known)
    found: dict[str, dict[str, float]] = model.search(
        split["queries"], top_k=top_k, top_ranked=split["top_ranked"], encode_kwargs=quiet, **known
    )
    return found


# ------------------------------------------------------------------------------------------------------ the numbers


@needs_mteb
@pytest.mark.parametrize(("category", "direction"), [("t2i", "text->image"), ("i2t", "image->text")])
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("postcards", {}),
        ("postcards", {"rerank": False}),
        ("postcards", {"matcher": "postcards-albef"}),
        ("postcards-blip2", {"rerank": False}),
    ],
    ids=["both stages", "the first alone", "another matcher", "several vectors"],
)
def test_mteb_measures_what_an_evaluation_of_the_same_gallery_measures(
    category: str,
    direction: str,
    model: str,
    settings: dict[str, Any],
    postcards: Path,
    make: Make,
    sightline: Sightline,
) -> None:
    scores = measured(make(model, candidates=CANDIDATES, **settings), task_of(postcards, category))
    sightline.index(postcards, gallery="cards", model=model)
    evaluated = sightline.evaluate("cards", candidates=CANDIDATES, **settings)
    side = next(one for one in evaluated.directions if one.name == direction)
    ours = side.before if side.after is None else side.after
    assert ours is not None
    assert 0 < (ours["recall@1"] or 0) < 1  # neither all right nor all wrong, or nothing is compared
    for k in (1, 5, 10):
        assert scores[f"hit_rate_at_{k}"] == pytest.approx(ours[f"recall@{k}"], abs=1e-5)
    assert scores["ndcg_at_10"] == pytest.approx(ours["ndcg@10"], abs=1e-5)
    assert scores["mrr_at_10"] == pytest.approx(ours["mrr"], abs=1e-5)


@needs_mteb
def test_what_is_not_reranked_follows_below_in_the_order_of_the_first_stage(postcards: Path, make: Make) -> None:
    task = task_of(postcards, "t2i")
    short, first = run(make(candidates=4), task), run(make(rerank=False), task)
    for query, page in short.items():
        names, similar = list(page), list(first[query])
        assert names[4:] == similar[4:]
        assert set(names[:4]) == set(similar[:4])
    assert any(list(page)[:4] != list(first[query])[:4] for query, page in short.items())


@needs_mteb
def test_scores_are_in_the_order_of_the_page_and_never_equal(postcards: Path, make: Make) -> None:
    for page in run(make(candidates=4), task_of(postcards, "i2t")).values():
        scores = np.array(list(page.values()), dtype=np.float32)
        assert (np.diff(scores) < 0).all()


@needs_mteb
def test_a_page_has_as_many_documents_as_were_asked_for(postcards: Path, make: Make) -> None:
    pages = run(make(candidates=6), task_of(postcards, "t2i"), top_k=3)
    assert {len(page) for page in pages.values()} == {3}


@needs_mteb
def test_where_a_task_names_the_documents_of_a_query_only_these_are_ranked(postcards: Path, make: Make) -> None:
    task = task_of(postcards, "t2i")
    task.load_data()
    split = task.dataset["default"]["test"]
    top_ranked = {name: ["03.png", "07.png"] for name in split["queries"]["id"]}
    pages = run(make(), a_task("t2i", split["queries"], split["corpus"], split["relevant_docs"], top_ranked))
    assert {frozenset(page) for page in pages.values()} == {frozenset({"03.png", "07.png"})}


# ------------------------------------------------------------------------------------- what is searched, and by what


@needs_mteb
def test_a_picture_finds_pictures_by_similarity(make: Make) -> None:
    red, blue = a_colour((200, 30, 30)), a_colour((30, 30, 200))
    corpus = rows_of_pictures([("red", red), ("blue", blue)])
    pages = run(make("hashing"), a_task("i2i", rows_of_pictures([("q", red)]), corpus, {"q": {"red": 1}}))
    assert list(pages["q"]) == ["red", "blue"]
    assert pages["q"]["red"] == pytest.approx(1, abs=1e-5)


@needs_mteb
def test_texts_of_equal_wording_are_documents_of_their_own(postcards: Path, make: Make) -> None:
    corpus = rows_of_texts([("a", "two red apples"), ("b", "a blue car"), ("c", "two red apples")])
    queries = rows_of_pictures([("q", (postcards / "00.png").read_bytes())])
    page = run(make(), a_task("i2t", queries, corpus, {"q": {"a": 1}}))["q"]
    assert sorted(page) == ["a", "b", "c"]
    assert page["a"] == pytest.approx(page["c"], abs=1e-4)


@needs_mteb
def test_a_document_is_read_with_its_title_and_a_query_with_its_instruction(make: Make) -> None:
    from datasets import Dataset

    parts = {"id": ["a", "b"], "title": ["A car.", ""], "text": ["It is blue.", "A tree."]}
    whole = rows_of_texts([("a", "A car. It is blue."), ("b", "A tree.")])
    picture = rows_of_pictures([("q", a_colour((1, 2, 3)))])
    pages = [
        run(make("hashing"), a_task("i2t", picture, corpus, {"q": {"a": 1}}))
        for corpus in (Dataset.from_dict(parts), whole)
    ]
    assert pages[0] == pages[1]
    asked = {"id": ["q"], "text": ["a car"], "instruction": ["that is blue"]}
    pages = [
        run(make("hashing"), a_task("t2i", queries, picture, {"q": {"q": 1}}))
        for queries in (Dataset.from_dict(asked), rows_of_texts([("q", "a car that is blue")]))
    ]
    assert pages[0] == pages[1]


@needs_mteb
def test_a_text_of_nothing_is_ranked_as_any_other_since_benchmarks_have_some(postcards: Path, make: Make) -> None:
    picture = rows_of_pictures([("q", (postcards / "00.png").read_bytes())])
    texts = rows_of_texts([("a", "an apple"), ("b", "")])
    assert set(run(make(), a_task("i2t", picture, texts, {"q": {"a": 1}}))["q"]) == {"a", "b"}
    assert set(run(make(), a_task("t2i", texts, picture, {"a": {"q": 1}}))) == {"a", "b"}


@needs_mteb
def test_a_picture_that_cannot_be_read_is_told_by_the_name_of_its_document(make: Make) -> None:
    notices: list[str] = []
    corpus = rows_of_pictures([("fine", a_colour((9, 9, 9))), ("broken", b"no picture")])
    queries = rows_of_texts([("q", "something grey")])
    pages = run(make("hashing", say=notices.append), a_task("t2i", queries, corpus, {"q": {"fine": 1}}))
    assert list(pages["q"]) == ["fine"]
    assert [line for line in notices if line.startswith("document broken cannot be found")]


@needs_mteb
def test_a_search_that_sightline_does_not_have_is_refused_in_one_line(make: Make) -> None:
    texts = rows_of_texts([("a", "one"), ("b", "two")])
    with pytest.raises(UsageError) as refused:
        run(make("hashing"), a_task("t2t", texts, texts, {"a": {"b": 1}}))
    assert str(refused.value) == (
        "SmallT2T looks for text by text: Sightline finds pictures by text, by picture or by both, and texts by picture"
    )


# ------------------------------------------------------------------------------------------------------- embeddings


def batches(model: SightlineModel, *given: dict[str, Any], modalities: Sequence[str] = ("text", "image")) -> Any:
    class Task:
        name = "Small"

    task: Any = Task()
    task.modalities = list(modalities)
    return model.encode(given, task_metadata=task, hf_split="test", hf_subset="default", show_progress_bar=False)


@needs_mteb
def test_embeddings_are_those_of_the_library_and_their_similarity_is_the_cosine(
    postcards: Path, make: Make, sightline: Sightline
) -> None:
    model, files, texts = make(), [postcards / "00.png", postcards / "01.png"], ["a red car", "two dogs", "a tree"]
    with Image.open(files[0]) as one, Image.open(files[1]) as other:
        of_images = batches(model, {"image": [one]}, {"image": [other]})
    of_texts = batches(model, {"text": texts})
    images_there = sightline.embed(files, model="postcards").embeddings[:, 0]
    texts_there = sightline.embed(texts=texts, model="postcards").embeddings
    assert np.allclose(of_images, images_there, atol=1e-6)
    assert np.allclose(of_texts, texts_there, atol=1e-6)
    cosines = np.asarray(model.similarity(of_images, of_texts))
    assert np.allclose(cosines, images_there @ texts_there.T, atol=1e-5)
    assert np.allclose(np.asarray(model.similarity_pairwise(of_images, of_texts[:2])), np.diag(cosines), atol=1e-5)


@needs_mteb
def test_a_picture_of_several_vectors_is_given_as_their_mean_but_never_beside_a_text(
    postcards: Path, make: Make, sightline: Sightline
) -> None:
    model, file = make("postcards-blip2"), postcards / "00.png"
    with Image.open(file) as picture:
        vector = batches(model, {"image": [picture]}, modalities=["image"])[0]
        with pytest.raises(UsageError, match="Small compares one vector of each picture with one of each text"):
            batches(model, {"image": [picture]})
    mean = sightline.embed(file, model="postcards-blip2").embeddings[0].mean(axis=0)
    assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


@needs_mteb
def test_a_zero_shot_task_of_mteb_is_answered_by_the_most_similar_label(
    postcards: Path, make: Make, sightline: Sightline
) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as Picture
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification

    found = said(postcards)[::4]  # of each four the first, which are no twins: scikit-learn warns of empty classes
    captions = [texts[0] for _, texts in found]
    rows = [
        {"image": {"bytes": (postcards / name).read_bytes(), "path": None}, "label": i}
        for i, (name, _) in enumerate(found)
    ]

    class Task(AbsTaskZeroShotClassification):
        metadata = TaskMetadata(
            name="SmallZeroShot",
            description="Which of three captions.",
            dataset={"path": "nobody/nothing", "revision": "1"},
            type="ZeroShotClassification",
            category="i2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="accuracy",
            modalities=["text", "image"],
        )

        def load_data(self, **_: Any) -> None:
            features = Features({"image": Picture(), "label": Value("int64")})
            self.dataset = {"test": Dataset.from_list(rows, features=features)}
            self.data_loaded = True

        def get_candidate_labels(self) -> list[str]:
            return captions

    of_images = sightline.embed([postcards / name for name, _ in found], model="postcards").embeddings[:, 0]
    of_labels = sightline.embed(texts=captions, model="postcards").embeddings
    right = (of_images @ of_labels.T).argmax(axis=1) == np.arange(3)
    assert measured(make(), Task())["accuracy"] == pytest.approx(right.mean())


# --------------------------------------------------------------------------------------------- what it is and leaves


@needs_mteb
def test_results_carry_the_model_its_fingerprint_and_what_was_reranked(make: Make, sightline: Sightline) -> None:
    from retrieval.models.checkpoints import CHECKPOINTS

    meta = make(candidates=7).mteb_model_meta
    encoder = sightline.wiring.encoder(CHECKPOINTS["postcards"])
    assert (meta.name, meta.revision, meta.embed_dim) == ("sightline/postcards", encoder.fingerprint, encoder.dimension)
    assert (set(meta.modalities), meta.license) == ({"image", "text"}, "bsd-3-clause")
    assert meta.experiment_kwargs == {"stages": "itc+itm", "candidates": 7}
    assert make(rerank=False).mteb_model_meta.experiment_kwargs == {"stages": "itc"}
    albef = sightline.wiring.reranker(CHECKPOINTS["postcards-albef"])
    assert albef is not None
    assert make(candidates=7, matcher="postcards-albef").mteb_model_meta.experiment_kwargs == {
        "stages": "itc+itm",
        "candidates": 7,
        "matcher": "postcards-albef",
        "matcher_revision": albef.matcher.fingerprint[:12],
    }


@needs_mteb
def test_unless_said_otherwise_as_many_are_reranked_as_an_evaluation_reranks(make: Make) -> None:
    assert make().mteb_model_meta.experiment_kwargs == {"stages": "itc+itm", "candidates": 32}


@needs_mteb
def test_mteb_takes_it_for_a_search_model_and_for_an_encoder(make: Make) -> None:
    from mteb.models import EncoderProtocol, SearchProtocol

    model = make()
    assert isinstance(model, SearchProtocol)
    assert isinstance(model, EncoderProtocol)


@needs_mteb
def test_corpora_are_gone_when_the_model_is_closed_and_nothing_touches_the_home(
    home: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("SIGHTLINE_DATABASE_URL", f"sqlite:///{tmp_path / 'of-people.db'}")
    model = make("hashing")
    task = a_task("i2i", *[rows_of_pictures([("a", a_colour((1, 2, 3)))])] * 2, {"a": {"a": 1}})
    run(model, task)
    run(model, task)
    (folder,) = (tmp_path / "temporary").glob("sightline-mteb-*")
    assert len(list((folder / "mteb").iterdir())) == 1
    model.close()
    assert not folder.exists()
    assert not home.exists()
    assert not (tmp_path / "of-people.db").exists()


@needs_mteb
def test_a_home_keeps_the_corpora_so_that_nothing_is_embedded_twice(tmp_path: Path, make: Make) -> None:
    corpus = rows_of_pictures([("a", a_colour((1, 2, 3))), ("b", a_colour((200, 2, 3)))])
    task = a_task("i2i", corpus, corpus, {"a": {"a": 1}})
    run(make("hashing", home=tmp_path / "kept"), task)
    run(make("hashing", home=tmp_path / "kept"), task)
    library = Sightline(tmp_path / "kept")
    (gallery,) = library.galleries()
    library.close()
    assert (gallery.items, gallery.revision) == (2, 1)


@pytest.mark.skipif(IS_HERE, reason="mteb is installed")
def test_without_mteb_it_is_said_how_to_get_it() -> None:
    with pytest.raises(UsageError, match="mteb is not installed: pip install 'sightline\\[mteb\\]'"):
        SightlineModel("postcards")


@needs_mteb
def test_so_many_candidates_as_no_search_takes_are_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="candidates is 0; it must lie between 1 and 2000"):
        make(candidates=0)
