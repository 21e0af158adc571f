"""A gallery's encoder and its matcher may be different models: whose order, whose similarities, and who may ask."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient
from sqlalchemy import select

from api import Sightline
from api.app import create_app
from api.cli import sightline as program
from api.errors import UsageError
from api.results import Page
from api.schemas import PageOut
from api.settings import Settings
from api.wiring import scoring_of
from retrieval.errors import NoModel, RoleMissing, UnknownModel
from retrieval.models.checkpoints import BUNDLED, CHECKPOINTS
from retrieval.training.world.galleries import write_gallery
from storage.tables import EvaluationTable

IsProblem = Callable[[Any, int, str | None], bool]
Run = Callable[..., Result]

SCENES = 24
EVERY = 150  # more than there are texts
GALLERIES = {"hashed": "hashing", "sibling": "postcards-blip2", "own": "postcards"}
MIXED = ("hashed", "sibling")
TEXT = "a yellow boat at night"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 24 postcards in three galleries, each of another encoder."""
    folder = tmp_path_factory.mktemp("mixing")
    write_gallery(folder / "cards", scenes=SCENES, seed=5)
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    for name, model in GALLERIES.items():
        library.index(folder / "cards", gallery=name, model=model)
    library.close()
    return folder / "home"


@pytest.fixture(scope="module")
def library(home: Path) -> Iterator[Sightline]:
    opened = Sightline(settings=Settings(home=home, offline=True))
    yield opened
    opened.close()


@pytest.fixture
def service(home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(home=home, offline=True)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SIGHTLINE_HOME", str(home))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(program, list(arguments), catch_exceptions=False)

    return invoke


def logits(page: Page) -> dict[str, float | None]:
    return {hit.text or hit.uri: hit.itm_logit for hit in page}


def similarities(page: Page) -> dict[str, tuple[float | None, int | None]]:
    return {hit.text or hit.uri: (hit.itc_similarity, hit.itc_rank) for hit in page}


def test_the_authors_protocol_counts_for_a_model_s_own_candidates_and_the_logit_alone_for_another_s() -> None:
    postcards, sibling, hashing = (CHECKPOINTS[name] for name in ("postcards", "postcards-blip2", "hashing"))
    assert scoring_of(postcards, postcards) == "itm+itc"
    assert scoring_of(sibling, postcards) == scoring_of(postcards, sibling) == scoring_of(hashing, postcards) == "itm"
    of_albef_s_kind = replace(postcards, name="another", protocol="itm")
    assert scoring_of(of_albef_s_kind, of_albef_s_kind) == "itm"
    assert scoring_of(of_albef_s_kind, postcards) == "itm"


@pytest.mark.parametrize("gallery", MIXED)
def test_the_order_is_the_matcher_s_and_the_similarities_are_the_encoder_s(library: Sightline, gallery: str) -> None:
    mixed = library.search(gallery, TEXT, matcher="postcards", k=SCENES, candidates=SCENES)
    first_stage = library.search(gallery, TEXT, rerank=False, k=SCENES)
    own = library.search("own", TEXT, k=SCENES, candidates=SCENES)
    assert (mixed.stages, mixed.model, mixed.matcher) == ("itc+itm", GALLERIES[gallery], "postcards")
    assert similarities(mixed) == similarities(first_stage)
    # The matcher reads the picture: its logits are those over its own candidates.
    assert logits(mixed) == pytest.approx(logits(own), abs=1e-5)
    by_logit = sorted(mixed, key=lambda hit: -(hit.itm_logit or 0))
    assert [hit.id for hit in mixed] == [hit.id for hit in by_logit]
    assert [hit.id for hit in mixed] != [hit.id for hit in first_stage]


def test_a_gallery_s_own_model_named_as_matcher_changes_nothing(library: Sightline) -> None:
    for gallery in ("sibling", "own"):
        named = library.search(gallery, TEXT, matcher=GALLERIES[gallery], k=SCENES)
        assert named == library.search(gallery, TEXT, k=SCENES)
        scores = [(hit.itm_logit or 0) + (hit.itc_similarity or 0) for hit in named]
        assert scores == sorted(scores, reverse=True)


def test_a_page_names_its_matcher_only_where_it_was_reranked(library: Sightline) -> None:
    assert library.search("own", TEXT).matcher == "postcards"
    assert library.search("own", TEXT, rerank=False).matcher is None
    assert library.search("hashed", TEXT).matcher is None


@pytest.mark.parametrize("gallery", MIXED)
def test_texts_are_looked_up_by_another_matcher(library: Sightline, home: Path, gallery: str) -> None:
    card = home.parent / "cards" / "postcard-0001.png"
    mixed = library.lookup(card, gallery, matcher="postcards", k=EVERY, candidates=EVERY)
    own = library.lookup(card, "own", k=EVERY, candidates=EVERY)
    assert (mixed.model, mixed.matcher) == (GALLERIES[gallery], "postcards")
    assert logits(mixed) == pytest.approx(logits(own), abs=1e-5)
    assert similarities(mixed) == similarities(library.lookup(card, gallery, rerank=False, k=EVERY))
    assert [hit.itm_logit for hit in mixed] == sorted((hit.itm_logit or 0 for hit in mixed), reverse=True)


def test_given_texts_are_looked_up_by_another_matcher(library: Sightline, home: Path) -> None:
    card, texts = home.parent / "cards" / "postcard-0001.png", ["a red car", "a blue boat", "a zeppelin"]
    mixed = library.lookup(card, texts=texts, model="hashing", matcher="postcards")
    own = library.lookup(card, texts=texts, model="postcards")
    assert (mixed.model, mixed.matcher, mixed.unknown_words) == ("hashing", "postcards", ("zeppelin",))
    assert logits(mixed) == pytest.approx(logits(own), abs=1e-5)
    assert similarities(mixed) == similarities(library.lookup(card, texts=texts, model="hashing", rerank=False))


def test_an_evaluation_is_reranked_by_another_matcher_and_says_so(library: Sightline) -> None:
    evaluated = library.evaluate("hashed", matcher="postcards", candidates=SCENES, queries=8)
    alone = library.evaluate("hashed", candidates=SCENES, queries=8)
    own = library.evaluate("own", candidates=SCENES, queries=8)
    assert (evaluated.model, evaluated.matcher, alone.matcher, own.matcher) == (
        "hashing",
        "postcards",
        None,
        "postcards",
    )
    for mixed, before in zip(evaluated.directions, alone.directions, strict=True):
        assert mixed.before == before.before
        assert before.after is None
    # Hashes know no meaning. All pictures are candidates, so that what is found is found by the matcher.
    pictures, theirs = evaluated.directions[0], own.directions[0]
    assert pictures.before["recall@1"] < 0.3
    assert (pictures.after or {})["recall@1"] >= 0.6
    assert (pictures.after or {})["recall@10"] == (theirs.after or {})["recall@10"] == 1
    with library.wiring.database.reading() as session:
        stored = {row.id: row.settings for row in session.scalars(select(EvaluationTable))}
    assert stored[evaluated.id]["matcher"] == "postcards"
    assert stored[evaluated.id]["rerank"] is True
    assert "matcher" not in stored[own.id] | stored[alone.id]


def test_words_that_either_model_does_not_know_are_named_once(library: Sightline) -> None:
    unknown = "a zeppelin over a zeppelin"
    assert library.search("hashed", unknown).unknown_words == ()
    assert library.search("hashed", unknown, matcher="postcards").unknown_words == ("zeppelin",)
    assert library.search("sibling", unknown, matcher="postcards").unknown_words == ("zeppelin",)
    assert library.search("hashed", unknown, matcher="postcards", image=None, candidates=1).matcher == "postcards"


def test_a_model_without_a_matcher_is_refused_before_a_folder_is_indexed(library: Sightline, home: Path) -> None:
    for verb in (library.search, library.evaluate):
        with pytest.raises(RoleMissing, match="hashing has no matcher"):
            verb(
                home.parent / "cards" / ".." / "nowhere",
                matcher="hashing",
                **({"text": TEXT} if verb == library.search else {}),
            )
    with pytest.raises(RoleMissing, match="blip-vqa-base has no matcher"):
        library.search("own", TEXT, matcher="blip-vqa-base")
    with pytest.raises(UnknownModel, match="nonsense"):
        library.lookup(home / "x.png", "own", matcher="nonsense")


def test_a_matcher_that_would_read_nothing_is_refused(library: Sightline, home: Path, tmp_path: Path) -> None:
    card = home.parent / "cards" / "postcard-0001.png"
    for ask in (
        lambda: library.search("own", TEXT, rerank=False, matcher="postcards"),
        lambda: library.lookup(card, "own", rerank=False, matcher="postcards"),
        lambda: library.evaluate("own", rerank=False, matcher="postcards"),
        lambda: library.search("own", image=card, matcher="postcards"),
    ):
        with pytest.raises(UsageError) as caught:
            ask()
        assert caught.value.field == "matcher"


def test_a_gallery_without_a_model_has_no_candidates_for_a_matcher(sightline: Sightline, photos: Path) -> None:
    sightline.index(photos, gallery="plain")
    with pytest.raises(NoModel, match="reranking"):
        sightline.search("plain", "b", matcher="postcards")


def test_the_usual_depth_is_the_matcher_s(library: Sightline) -> None:
    wiring, gallery = library.wiring, library.gallery("own")
    large = replace(gallery, model="blip-itm-base-coco")
    assert (wiring.depth(gallery), wiring.depth(large, "postcards")) == (128, 128)
    assert wiring.depth(gallery, "blip-itm-base-coco") == wiring.depth(large) != 32


def test_a_matcher_remembers_its_own_tokens_and_shares_them_with_its_own_gallery(library: Sightline) -> None:
    postcards, sibling = CHECKPOINTS["postcards"], CHECKPOINTS["postcards-blip2"]
    mixed, own = library.wiring.reranker_for(sibling, "postcards"), library.wiring.reranker(postcards)
    other = library.wiring.reranker(sibling)
    assert mixed is not None
    assert own is not None
    assert other is not None
    assert (mixed.matcher, mixed.tokens) == (own.matcher, own.tokens)
    assert mixed.tokens is not other.tokens
    assert (mixed.scoring, own.scoring) == ("itm", "itm+itc")


def test_over_http_another_matcher_reranks_as_in_the_library(
    service: TestClient, library: Sightline, home: Path
) -> None:
    card = (home.parent / "cards" / "postcard-0001.png").read_bytes()
    page = service.get(f"/v1/galleries/hashed/search?text={TEXT}&matcher=postcards&k=5").json()
    expected = library.search("hashed", TEXT, matcher="postcards", k=5)
    assert (page["model"], page["matcher"]) == ("hashing", "postcards")
    assert [hit["id"] for hit in page["hits"]] == [hit.id for hit in expected]
    posted = service.post(f"/v1/galleries/hashed/search?text={TEXT}&matcher=postcards", files={"image": ("x", card)})
    assert (posted.json()["stages"], posted.json()["matcher"]) == ("itc+itm", "postcards")
    for texts in ([], ["a red car", "a blue boat"]):
        address = "/v1/galleries/hashed/lookup?matcher=postcards"
        found = service.post(address, files={"image": ("x", card)}, data={"texts": texts}).json()
        assert (found["model"], found["matcher"]) == ("hashing", "postcards")


@pytest.mark.parametrize(
    "matcher",
    [
        str(BUNDLED / "postcards"),
        "../../etc",
        "Salesforce/blip-itm-base-coco",
        "someone/else",
        "blip-itm-base-coco",
        "blip-vqa-base",
        "hashing",
        "nonsense",
        "%00",
        "",
    ],
)
def test_over_http_only_what_is_here_by_name_may_be_asked_for(
    service: TestClient, problem: IsProblem, home: Path, matcher: str
) -> None:
    card = (home.parent / "cards" / "postcard-0001.png").read_bytes()
    told = service.get(f"/v1/galleries/hashed/search?text=x&matcher={matcher}")
    assert problem(told, 422, "matcher")
    assert "postcards, postcards-blip2" in told.json()["detail"]
    for address in ("search?text=x&", "lookup?"):
        answer = service.post(f"/v1/galleries/hashed/{address}matcher={matcher}", files={"image": ("x", card)})
        assert problem(answer, 422, "matcher")


def test_over_http_a_matcher_without_reranking_is_named(service: TestClient, problem: IsProblem, home: Path) -> None:
    card = (home.parent / "cards" / "postcard-0001.png").read_bytes()
    assert problem(service.get("/v1/galleries/own/search?text=x&rerank=false&matcher=postcards"), 422, "matcher")
    assert problem(
        service.post("/v1/galleries/own/search?matcher=postcards", files={"image": ("x", card)}), 422, "matcher"
    )
    answer = service.post("/v1/galleries/own/lookup?rerank=false&matcher=postcards", files={"image": ("x", card)})
    assert problem(answer, 422, "matcher")
    assert problem(service.get(f"/v1/galleries/own/search?text=x&matcher={'x' * 5000}"), 422, "matcher")


def test_over_http_the_server_s_own_model_may_be_asked_for_whatever_it_is(home: Path, problem: IsProblem) -> None:
    chosen = str(BUNDLED / "postcards")
    with TestClient(create_app(Settings(home=home, offline=True, model=chosen))) as client:
        page = client.get("/v1/galleries/hashed/search", params={"text": TEXT, "matcher": chosen}).json()
        assert (page["matcher"], page["stages"]) == (chosen, "itc+itm")
    with TestClient(create_app(Settings(home=home, offline=True, model="no/such"))) as client:
        answer = client.get("/v1/galleries/hashed/search", params={"text": TEXT, "matcher": "no/such"})
        assert problem(answer, 422, "matcher")


def test_the_command_line_says_who_reranked_and_who_knows_no_word(run: Run, library: Sightline) -> None:
    result = run("search", "hashed", "a zeppelin", "--matcher", "postcards", "-k", "2")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "hashing or postcards does not know 'zeppelin'; only the rest was read.",
        "Found by hashing, reranked by postcards.",
    ]
    printed = json.loads(run("search", "hashed", TEXT, "--matcher", "postcards", "--json").stdout)
    assert printed == PageOut.of(library.search("hashed", TEXT, matcher="postcards")).model_dump()
    assert run("search", "own", TEXT).stderr == ""


def test_the_command_line_evaluates_and_looks_up_by_another_matcher(run: Run, home: Path) -> None:
    told = run("evaluate", "hashed", "--matcher", "postcards", "--queries", "2").stdout
    assert ": hashed, model hashing, protocol postcards, 32 candidates reranked by postcards\n" in told
    alone = run("evaluate", "hashed", "--queries", "2").stdout
    assert ": hashed, model hashing, protocol itc, 128 candidates not reranked\n" in alone
    own = run("evaluate", "own", "--queries", "2").stdout
    assert ": own, model postcards, protocol postcards, 32 candidates reranked\n" in own
    card = str(home.parent / "cards" / "postcard-0001.png")
    found = json.loads(run("lookup", card, "-g", "hashed", "--matcher", "postcards", "--json").stdout)
    assert (found["model"], found["matcher"]) == ("hashing", "postcards")


def test_the_command_line_refuses_in_one_line(run: Run) -> None:
    without = run("search", "own", TEXT, "--matcher", "postcards", "--no-rerank")
    assert (without.exit_code, without.stderr.count("\n")) == (2, 1)
    assert "postcards has nothing to read without reranking" in without.stderr
    mute = run("search", "own", TEXT, "--matcher", "hashing")
    assert (mute.exit_code, mute.stderr) == (2, "sightline: the model hashing has no matcher\n")
