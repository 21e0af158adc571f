"""A first pass by one vector an item: recall may suffer, similarities do not; asked for in all three ways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient
from sqlalchemy import select

from api import Sightline
from api.app import create_app
from api.cli import sightline as program
from api.deps import Service, TextQuery
from api.doors.ranking import Ranking
from api.errors import UsageError
from api.results import Page
from api.schemas import PageOut
from api.settings import Settings
from retrieval.training.world.galleries import write_gallery
from storage.tables import EvaluationTable

IsProblem = Callable[[Any, int, str | None], bool]

SCENES = 24
TEXTS = ("a yellow boat", "a red car", "three apples", "at night", "a cat on a table")
SEARCH = "/v1/galleries/sibling/search"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 postcards of eight vectors each, and a gallery of one vector each."""
    folder = tmp_path_factory.mktemp("pooled")
    write_gallery(folder / "cards", scenes=SCENES, seed=5)
    library = Sightline(settings=Settings(home=folder / "home", offline=True))
    library.index(folder / "cards", gallery="sibling", model="postcards-blip2")
    library.index(folder / "cards", gallery="single", model="hashing")
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


def run(home: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setenv("SIGHTLINE_HOME", str(home))
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    return CliRunner().invoke(program, list(arguments), catch_exceptions=False)


def exact(library: Sightline, text: str) -> dict[int, float | None]:
    return {hit.id: hit.itc_similarity for hit in library.search("sibling", text, rerank=False, k=SCENES)}


def test_a_first_pass_over_everything_gives_the_same_page(library: Sightline, home: Path) -> None:
    for text in TEXTS:
        for rerank in (True, False):
            whole = library.search("sibling", text, k=SCENES, rerank=rerank)
            assert library.search("sibling", text, k=SCENES, rerank=rerank, pooled=SCENES) == whole
    card = home.parent / "cards" / "postcard-0003.png"
    assert library.search("sibling", image=card, k=3, pooled=SCENES) == library.search("sibling", image=card, k=3)


def test_a_short_first_pass_may_miss_pictures_but_its_similarities_are_exact(library: Sightline) -> None:
    missed = 0
    for text in TEXTS:
        similar = exact(library, text)
        page = library.search("sibling", text, k=4, rerank=False, pooled=4)
        assert {hit.id: hit.itc_similarity for hit in page} == {hit.id: similar[hit.id] for hit in page}
        shown = [hit.itc_similarity or 0 for hit in page]
        assert shown == sorted(shown, reverse=True)
        missed += len({hit.id for hit in page} ^ set(list(similar)[:4]))
    assert missed > 0


def test_pictures_of_one_vector_are_not_touched(library: Sightline) -> None:
    assert library.search("single", "a red car", k=2, pooled=2) == library.search("single", "a red car", k=2)


def test_the_usual_candidates_are_no_more_than_are_handed_on(library: Sightline) -> None:
    page = library.search("sibling", "a red car", k=5, pooled=5)
    assert {hit.itc_rank for hit in page} == {1, 2, 3, 4, 5}
    assert page.stages == "itc+itm"


@pytest.mark.parametrize(
    ("wanted", "both"),
    [
        ({"k": 10, "pooled": 9}, ("pooled is 9", "k is 10")),
        ({"k": 5, "candidates": 20, "pooled": 19}, ("pooled is 19", "candidates is 20")),
        ({"pooled": 0}, ("pooled is 0", "between 1 and 10000")),
        ({"pooled": 10_001}, ("pooled is 10001", "between 1 and 10000")),
    ],
)
def test_what_cannot_be_is_named(library: Sightline, wanted: dict[str, int], both: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        library.search("sibling", "a red car", **wanted)  # type: ignore[arg-type]
    assert caught.value.field == "pooled"
    assert all(part in str(caught.value) for part in both)


def test_an_evaluation_is_pooled_and_says_so(library: Sightline) -> None:
    whole = library.evaluate("sibling", candidates=12, queries=8)
    same = library.evaluate("sibling", candidates=12, pooled=SCENES, queries=8)
    short = library.evaluate("sibling", candidates=12, pooled=12, queries=8)
    assert (whole.pooled, same.pooled, short.pooled) == (None, SCENES, 12)
    assert same.directions == whole.directions
    # Texts have one vector: looking them up is the same.
    assert short.directions[1] == whole.directions[1]
    with library.wiring.database.reading() as session:
        stored = {row.id: row.settings for row in session.scalars(select(EvaluationTable))}
    assert (stored[short.id]["pooled"], "pooled" in stored[whole.id]) == (12, False)
    with pytest.raises(UsageError, match="pooled is 9, k is 10"):
        library.evaluate("sibling", pooled=9)


@pytest.mark.parametrize("rerank", ["true", "false"])
def test_over_http_a_page_is_the_library_s(service: TestClient, library: Sightline, home: Path, rerank: str) -> None:
    found = service.get(f"{SEARCH}?text=a+red+car&k=4&pooled=4&rerank={rerank}").json()
    expected = library.search("sibling", "a red car", k=4, pooled=4, rerank=rerank == "true")
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in expected]
    card = (home.parent / "cards" / "postcard-0003.png").read_bytes()
    posted = service.post(f"{SEARCH}?k=3&pooled=3&rerank={rerank}", files={"image": ("x", card)}).json()
    assert posted["hits"][0]["uri"].endswith("postcard-0003.png")


@pytest.mark.parametrize("rerank", ["true", "false"])
def test_over_http_what_cannot_be_is_named(service: TestClient, problem: IsProblem, rerank: str) -> None:
    for query in ("pooled=0", "pooled=10001", "pooled=x", "k=10&pooled=9", "k=1&candidates=3&pooled=2"):
        assert problem(service.get(f"{SEARCH}?text=x&rerank={rerank}&{query}"), 422, "pooled")


def test_queries_that_are_pooled_and_others_are_answered_together_as_if_alone(home: Path, library: Sightline) -> None:
    asked = [(text, k, pooled) for text in TEXTS for k, pooled in ((3, None), (3, 3), (2, 3), (4, 6))]

    async def answer() -> list[Page]:
        service = Service(Settings(home=home, offline=True))
        service.searches.start()
        # The first one loads the model; meanwhile all others wait, and are taken at once.
        queries = (TextQuery("sibling", text, Ranking(k, rerank=False, pooled=pooled)) for text, k, pooled in asked)
        futures = [service.searches.put(query) for query in queries]
        pages = await asyncio.gather(*futures)
        service.searches.close()
        service.searches.join()
        service.sightline.close()
        return pages

    for page, (text, k, pooled) in zip(asyncio.run(answer()), asked, strict=True):
        alone = library.search("sibling", text, k=k, rerank=False, pooled=pooled)
        assert [hit.id for hit in page] == [hit.id for hit in alone]
        # A text in a batch may take another path through the processor's vector units.
        expected = [hit.itc_similarity for hit in alone]
        assert [hit.itc_similarity for hit in page] == pytest.approx(expected, abs=1e-6)


def test_the_command_line_takes_it_and_tells_it(
    home: Path, library: Sightline, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = run(home, monkeypatch, "search", "sibling", "a red car", "-k", "4", "--pooled", "4", "--json").stdout
    assert json.loads(printed) == PageOut.of(library.search("sibling", "a red car", k=4, pooled=4)).model_dump()
    table = run(home, monkeypatch, "evaluate", "sibling", "--pooled", "12", "--queries", "2").stdout
    headline = "sibling, model postcards-blip2, protocol postcards, 12 candidates reranked, first pass over 12\n"
    assert f": {headline}" in table
    refused = run(home, monkeypatch, "search", "sibling", "a red car", "-k", "4", "--pooled", "3")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
