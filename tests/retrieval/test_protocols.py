"""The table of protocols against the authors' programs, the model's own protocol, and what departs from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retrieval.errors import UnknownProtocol
from retrieval.evaluation.protocols import EVERY, PROTOCOLS, by_name, protocol_of
from retrieval.models.checkpoints import CHECKPOINTS, Scoring

AUTHORS: list[tuple[str, int | None, Scoring, int, int]] = [
    ("albef", 256, "itm", 30, 384),
    ("albef-flickr30k", 128, "itm", 30, 384),
    ("lavis-albef", 128, "itm+itc", 35, 384),
    ("blip", 256, "itm+itc", 35, 384),
    ("blip-flickr30k", 128, "itm+itc", 35, 384),
    ("blip2", 128, "itm+itc", 35, 364),
    ("alpro", None, "itm-probability", 40, 224),
]
"""Candidates (k_test), score, ids of a text, side of a picture."""


@pytest.mark.parametrize(("name", "candidates", "scoring", "text_length", "image_size"), AUTHORS)
def test_a_protocol_is_that_of_its_authors(
    name: str, candidates: int | None, scoring: Scoring, text_length: int, image_size: int
) -> None:
    row = by_name(name)
    found = (row.candidates, row.scoring, row.text_length, row.image_size)
    assert found == (candidates, scoring, text_length, image_size)


def test_every_protocol_is_known_by_its_own_name_and_means_something() -> None:
    assert all(name == row.name and row.meaning for name, row in PROTOCOLS.items())


def test_an_unknown_protocol_s_line_names_those_there_are() -> None:
    with pytest.raises(UnknownProtocol) as caught:
        by_name("albeff")
    said = str(caught.value)
    assert "'albeff'" in said
    assert "\n" not in said
    assert all(name in said for name in PROTOCOLS)


@pytest.mark.parametrize(
    ("model", "protocol"),
    [
        ("postcards", "postcards"),
        ("postcards-blip2", "postcards"),
        ("postcards-albef", "postcards-albef"),
        ("blip-itm-base-coco", "blip"),
        ("blip-itm-base-flickr", "blip-flickr30k"),
        ("hashing", "itc"),
    ],
)
def test_a_model_is_measured_by_the_protocol_of_its_paper(model: str, protocol: str) -> None:
    assert protocol_of(CHECKPOINTS[model]).name == protocol


def test_every_model_that_reranks_keeps_the_score_of_its_own_protocol() -> None:
    for row in (row for row in CHECKPOINTS.values() if "matcher" in row.roles):
        protocol = protocol_of(row)
        assert protocol.scoring == row.protocol, row.name
        assert protocol.candidates is not None, row.name


def test_every_model_departs_from_its_own_protocol_in_sizes_alone() -> None:
    """A model of another size than the paper's measured one says so, and nothing else."""
    for row in (row for row in CHECKPOINTS.values() if row.roles):
        protocol = protocol_of(row)
        said = protocol.departures(row, protocol.candidates or EVERY, row.protocol)
        assert all(one.startswith(("pictures of", "texts of")) for one in said), (row.name, said)


def test_a_run_by_the_rules_departs_in_nothing() -> None:
    assert by_name("blip").departures(CHECKPOINTS["blip-itm-base-coco"], 256, "itm+itc") == []
    assert by_name("itc").departures(CHECKPOINTS["hashing"], 7, "itc") == []


def test_every_departure_is_said_with_what_the_protocol_has() -> None:
    strange = replace(CHECKPOINTS["postcards"], text_length=64, image_size=144)
    assert by_name("blip2").departures(strange, 32, "itm") == [
        "32 candidates in place of 128",
        "ordered by itm in place of itm+itc",
        "texts of 64 ids in place of 35",
        "pictures of 144 px in place of 364",
    ]


def test_fewer_candidates_than_all_depart_from_a_protocol_that_reads_every_pair() -> None:
    reads_like_alpro = replace(CHECKPOINTS["postcards"], text_length=40, image_size=224)
    assert by_name("alpro").departures(reads_like_alpro, 16, "itm-probability") == ["16 candidates in place of all"]
    assert by_name("alpro").departures(reads_like_alpro, EVERY, "itm-probability") == []
