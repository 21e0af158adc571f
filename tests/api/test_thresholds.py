"""Match probabilities, calibrated and not: min_match, target_precision, and "nothing matches", at every door."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from api import Sightline
from api.app import create_app
from api.cli import sightline as command
from api.errors import UsageError
from api.settings import Settings
from retrieval.errors import PrecisionOutOfReach, Uncalibrated

IsProblem = Callable[[Any, int, str | None], bool]
POSTER = "three red apples left of a blue car facing right in the field on a clear day"
NOWHERE = "a sign saying yoga in the snow"
SEARCH = "/v1/galleries/cards/search"


@pytest.fixture(scope="module")
def own_home(cards_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of this module's own, in which fits can be made and thrown away."""
    return Path(shutil.copytree(cards_home, tmp_path_factory.mktemp("thresholds") / "home"))


@pytest.fixture
def home_of_cards(own_home: Path, tmp_path: Path) -> Path:
    """The gallery `cards` without a calibration."""
    return Path(shutil.copytree(own_home, tmp_path / "cards-home"))


@pytest.fixture
def library(home_of_cards: Path) -> Iterator[Sightline]:
    opened = Sightline(settings=Settings(home=home_of_cards, offline=True), say=lambda line: None)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def calibrated_home(own_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the gallery `cards` calibrated."""
    home = Path(shutil.copytree(own_home, tmp_path_factory.mktemp("calibrated") / "home"))
    library = Sightline(settings=Settings(home=home, offline=True))
    library.calibrate("cards")
    library.close()
    return home


@pytest.fixture
def calibrated(calibrated_home: Path, tmp_path: Path) -> Iterator[Sightline]:
    home = Path(shutil.copytree(calibrated_home, tmp_path / "calibrated-home"))
    opened = Sightline(settings=Settings(home=home, offline=True), say=lambda line: None)
    yield opened
    opened.close()


@pytest.fixture
def calibrated_client(calibrated: Sightline) -> Iterator[TestClient]:
    with TestClient(create_app(calibrated.settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(library: Sightline) -> Iterator[TestClient]:
    with TestClient(create_app(library.settings), raise_server_exceptions=False) as client:
        yield client


# Uncalibrated


def test_a_page_that_nobody_calibrated_says_so(library: Sightline) -> None:
    page = library.search("cards", POSTER)
    assert page.calibration is None
    first = page.hits[0]
    assert first.match_probability is not None
    assert first.match_probability > 0.5


def test_a_threshold_works_without_a_calibration(library: Sightline) -> None:
    whole = library.search("cards", POSTER, k=24)
    held = library.search("cards", POSTER, k=24, min_match=0.5)
    assert held.threshold == 0.5
    assert list(held) == [hit for hit in whole if (hit.match_probability or 0) >= 0.5]
    assert 0 < len(held) < len(whole)


def test_no_hit_above_the_threshold_is_an_answer_with_the_best_below(library: Sightline) -> None:
    page = library.search("cards", NOWHERE, min_match=0.5)
    assert (page.nothing_matches, page.hits) == (True, ())
    assert page.best_below == library.search("cards", NOWHERE).hits[0]


def test_without_a_threshold_nothing_is_said_to_match_or_not(library: Sightline) -> None:
    page = library.search("cards", NOWHERE)
    assert (page.nothing_matches, page.best_below, len(page)) == (False, None, 10)


def test_a_threshold_of_nothing_shows_all(library: Sightline) -> None:
    assert len(library.search("cards", NOWHERE, min_match=0.0)) == 10


def test_a_threshold_looks_at_all_candidates_and_not_at_one_page(library: Sightline) -> None:
    """The first hit by score is not always the likeliest: similarity counts too."""
    one = library.search("cards", "a car", k=1, min_match=0.01)
    assert len(one) == 1


def test_a_precision_needs_a_calibration(library: Sightline) -> None:
    with pytest.raises(Uncalibrated, match="sightline calibrate cards"):
        library.search("cards", POSTER, target_precision=0.9)


@pytest.mark.parametrize(
    ("asked", "field", "sentence"),
    [
        ({"min_match": 1.5}, "min_match", "between 0 and 1"),
        ({"min_match": math.nan}, "min_match", "between 0 and 1"),
        ({"target_precision": -0.1}, "target_precision", "between 0 and 1"),
        ({"min_match": 0.5, "target_precision": 0.5}, "target_precision", "give one of them"),
        ({"min_match": 0.5, "rerank": False}, "min_match", "which reranking gives"),
    ],
)
def test_a_threshold_that_cannot_be_is_refused(
    library: Sightline, asked: dict[str, Any], field: str, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        library.search("cards", POSTER, **asked)
    assert refused.value.field == field


def test_a_picture_alone_has_no_match_probability_to_hold(library: Sightline, cards_home: Path) -> None:
    with pytest.raises(UsageError, match="a picture alone is not reranked"):
        library.search("cards", image=cards_home.parent / "cards" / "postcard-0001.png", min_match=0.5)


def test_a_gallery_of_names_has_no_match_probability_either(sightline: Sightline, photos: Path) -> None:
    name = sightline.index(photos).gallery
    with pytest.raises(UsageError, match="names and captions has no matcher"):
        sightline.search(name, "a", min_match=0.5)


# Calibrated


def test_a_calibration_changes_probabilities_and_no_order(calibrated: Sightline) -> None:
    from sqlalchemy import text

    before = calibrated.search("cards", POSTER, k=24)
    assert before.calibration is not None
    with calibrated.wiring.database.writing() as session:
        curve = {"curve": json.dumps({"temperature": 2.0, "shift": 0.0})}
        session.execute(text("UPDATE calibrations SET method = 'temperature', parameters = :curve"), curve)
    after = calibrated.search("cards", POSTER, k=24)
    assert [hit.id for hit in after] == [hit.id for hit in before]
    assert [hit.itm_logit for hit in after] == [hit.itm_logit for hit in before]
    for now, then in zip(after, before, strict=True):
        assert now.match_probability is not None
        assert then.match_probability is not None
        assert 0 < abs(now.match_probability - 0.5) < abs(then.match_probability - 0.5)


def test_lookups_have_a_calibration_of_their_own(calibrated: Sightline, cards_home: Path) -> None:
    page = calibrated.lookup(cards_home.parent / "cards" / "postcard-0001.png", "cards")
    assert page.calibration is not None
    assert page.calibration.direction == "image->text"


def test_a_calibration_outlives_the_library(calibrated: Sightline) -> None:
    found = calibrated.search("cards", POSTER).calibration
    again = Sightline(settings=calibrated.settings)
    assert again.search("cards", POSTER).calibration == found
    again.close()


def test_other_weights_make_a_calibration_void(calibrated: Sightline) -> None:
    from sqlalchemy import text

    with calibrated.wiring.database.writing() as session:
        session.execute(text("UPDATE calibrations SET fingerprint = 'of other weights'"))
    assert calibrated.search("cards", POSTER).calibration is None


def test_a_precision_is_the_lowest_threshold_that_gave_it(calibrated: Sightline) -> None:
    page = calibrated.search("cards", POSTER, target_precision=0.6)
    assert page.calibration is not None
    enough = [one.threshold for one in page.calibration.thresholds if one.precision >= 0.6]
    assert page.threshold == min(enough)


def test_a_precision_that_no_threshold_gave_is_refused_with_the_best(calibrated: Sightline) -> None:
    from sqlalchemy import text

    with calibrated.wiring.database.writing() as session:
        row = json.loads(session.execute(text("SELECT measured FROM calibrations LIMIT 1")).scalar_one())
        row["thresholds"] = [{"threshold": 0.5, "precision": 0.75, "recall": 1.0}]
        session.execute(text("UPDATE calibrations SET measured = :row"), {"row": json.dumps(row)})
    with pytest.raises(PrecisionOutOfReach, match=r"the best that any threshold gave in gallery 'cards' is 0\.750"):
        calibrated.search("cards", POSTER, target_precision=0.9)


def test_an_evaluation_prints_and_keeps_what_it_found(library: Sightline) -> None:
    evaluated = library.evaluate("cards")
    assert [one.calibration is not None for one in evaluated.directions] == [True, True]
    assert library.search("cards", POSTER).calibration is not None
    assert library.evaluations("cards") == [evaluated]


def test_an_evaluation_of_fewer_queries_leaves_a_better_fit_alone(calibrated: Sightline) -> None:
    before = calibrated.search("cards", POSTER).calibration
    calibrated.evaluate("cards", queries=22)
    assert calibrated.search("cards", POSTER).calibration == before


def test_a_gallery_without_pairs_is_calibrated_by_captions_of_its_own(
    home: Path, cards_home: Path, tmp_path: Path, said: list[str]
) -> None:
    pictures = tmp_path / "bare"
    pictures.mkdir()
    for number in range(1, 25):
        shutil.copy(cards_home.parent / "cards" / f"postcard-{number:04d}.png", pictures)
    library = Sightline(settings=Settings(home=home, offline=True), say=said.append)
    library.index(pictures, gallery="bare", model="postcards")
    (made,) = library.calibrate("bare")
    assert (made.source, made.direction, made.queries) == ("captions", "text->image", 24)
    assert any("writes captions to calibrate by" in line for line in said)
    assert library.search("bare", POSTER).calibration == made
    library.close()


# Over HTTP


def test_nothing_matches_over_http(client: TestClient) -> None:
    body = client.get(SEARCH, params={"text": NOWHERE, "min_match": 0.5, "k": 3}).json()
    assert (body["nothing_matches"], body["hits"], body["threshold"]) == (True, [], 0.5)
    assert body["best_below"]["match_probability"] < 0.5
    assert body["calibration"] is None


def test_faults_of_a_threshold_over_http(client: TestClient, problem: IsProblem) -> None:
    assert problem(client.get(SEARCH, params={"text": "x", "min_match": 7}), 422, "min_match")
    assert problem(client.get(SEARCH, params={"text": "x", "target_precision": 0.9}), 409, "target_precision")
    assert problem(client.get(SEARCH, params={"like": 1, "min_match": 0.9}), 422, "min_match")


def test_a_calibrated_page_says_what_it_is_worth(calibrated_client: TestClient) -> None:
    client = calibrated_client
    body = client.get(SEARCH, params={"text": POSTER, "target_precision": 0.6}).json()
    assert body["calibration"].keys() >= {"ece", "ece_first", "ece_uncalibrated", "queries", "method", "source"}
    assert body["threshold"] is not None
    detail = client.get("/v1/galleries/cards").json()
    assert detail["calibration"]["precisions"]
    assert sum(one["count"] for one in detail["calibration"]["bins"]) == 48  # 24 queries, each asked twice


def test_evaluations_are_listed_newest_first(library: Sightline, client: TestClient) -> None:
    for queries in (22, 24):
        library.evaluate("cards", queries=queries)
    newest, oldest = client.get("/v1/galleries/cards/evaluations").json()
    assert newest["id"] > oldest["id"]
    (pictures, _) = newest["directions"]
    assert pictures["name"] == "text->image"
    assert pictures["curve"]["k"][0] == 1
    assert pictures["curve"]["after"][0] == pictures["after"]["recall@1"]
    assert pictures["calibration"]["ece"] <= 1


def test_an_evaluation_of_an_older_version_is_still_listed(library: Sightline, client: TestClient) -> None:
    from sqlalchemy import text

    library.evaluate("cards", queries=22)
    old = {"text->image": {"before": {"recall@1": 0.5, "recall@5": 1.0, "recall@10": 1.0}, "after": None}}
    with library.wiring.database.writing() as session:
        session.execute(text("UPDATE evaluations SET measures = :old"), {"old": json.dumps(old)})
    (listed,) = client.get("/v1/galleries/cards/evaluations").json()
    (direction,) = listed["directions"]
    assert (direction["queries"], direction["curve"], direction["calibration"]) == (None, None, None)


# Step by step


def events(client: TestClient, **asked: Any) -> list[tuple[str, Any]]:
    """The events of a search, each with its data."""
    answer = client.get(f"{SEARCH}/events", params=asked)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_a_search_tells_of_its_steps(client: TestClient) -> None:
    told = events(client, text=POSTER, k=3, candidates=24)
    names = [name for name, _ in told]
    assert (names[0], names[-1], set(names[1:-1])) == ("first", "page", {"judged"})
    first, last = told[0][1], told[-1][1]
    assert [hit["rank"] for hit in first["hits"]] == [hit["itc_rank"] for hit in first["hits"]] == list(range(1, 25))
    assert all(hit["match_probability"] is None for hit in first["hits"])
    assert last["hits"][:3] == client.get(SEARCH, params={"text": POSTER, "k": 3, "candidates": 24}).json()["hits"]
    assert {hit["id"] for hit in last["hits"]} == {hit["id"] for hit in first["hits"]}
    read = [one for name, step in told if name == "judged" for one in step["hits"]]
    assert [one["id"] for one in sorted(read, key=lambda one: -one["score"])] == [hit["id"] for hit in last["hits"]]
    assert [step["done"] for name, step in told if name == "judged"][-1] == 24


def test_the_last_page_holds_what_the_threshold_holds_back(client: TestClient) -> None:
    told = events(client, text=NOWHERE, min_match=0.5, candidates=24)
    page = told[-1][1]
    assert (page["nothing_matches"], len(page["hits"])) == (True, 24)
    assert page["best_below"] == page["hits"][0]


def test_a_picture_alone_is_answered_in_two_steps(client: TestClient) -> None:
    told = events(client, like=1, k=3)
    assert [name for name, _ in told] == ["first", "page"]
    assert told[0][1]["hits"] == told[1][1]["hits"]
    assert told[1][1]["hits"][0]["id"] == 1


def test_a_text_without_reranking_is_answered_in_two_steps(client: TestClient) -> None:
    assert [name for name, _ in events(client, text=POSTER, rerank=False)] == ["first", "page"]


def test_what_is_wrong_from_the_start_is_a_problem_and_no_stream(client: TestClient, problem: IsProblem) -> None:
    ask = "/v1/galleries/{}/search/events".format
    assert problem(client.get(ask("nowhere"), params={"text": "x"}), 404, "name")
    assert problem(client.get(ask("cards")), 422, "text")
    assert problem(client.get(ask("cards"), params={"text": "..."}), 422, "text")
    assert problem(client.get(ask("cards"), params={"like": 10_000}), 404, "id")
    assert problem(client.get(ask("cards"), params={"picture": "short"}), 422, "picture")
    assert problem(client.get(ask("cards"), params={"like": 1, "picture": "0" * 64}), 422, "picture")


def test_a_text_and_an_item_are_searched_together(client: TestClient) -> None:
    both = client.get(SEARCH, params={"text": "a sign", "like": 2, "k": 5}).json()
    assert both["stages"] == "itc+itm"
    assert both["hits"]


# On the command line


def run(home: Path, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(command, list(arguments), env={"SIGHTLINE_HOME": str(home), "SIGHTLINE_OFFLINE": "1"})
    return done.exit_code, done.stdout, done.stderr


def test_the_command_line_says_that_nothing_matches(home_of_cards: Path) -> None:
    code, out, _ = run(home_of_cards, "search", "cards", NOWHERE, "--min-match", "0.5")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "Nothing matches: no hit reaches a match probability of 50.0%. The best below it:"
    assert len(lines) == 2
    assert lines[1].endswith("(not calibrated)")


def test_the_command_line_calibrates_and_holds_a_precision(home_of_cards: Path) -> None:
    code, out, _ = run(home_of_cards, "calibrate", "cards")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["text->image", "image->text"]
    assert "expected calibration error 0." in out
    code, out, _ = run(home_of_cards, "search", "cards", POSTER, "--target-precision", "0.6", "--json")
    page = json.loads(out)
    assert code == 0
    assert all(hit["match_probability"] >= page["threshold"] for hit in page["hits"])
    assert "(not calibrated)" not in run(home_of_cards, "search", "cards", POSTER)[1]
    code, _, complaint = run(home_of_cards, "search", "cards", POSTER, "--min-match", "half")
    assert code == 2
    assert "half" in complaint


def test_evaluate_prints_the_calibration_error(home_of_cards: Path) -> None:
    code, out, _ = run(home_of_cards, "evaluate", "cards")
    assert code == 0
    assert sum("expected calibration error" in line for line in out.splitlines()) == 2
