"""Captions cut into tokens: as the COCO scorer's tokenizer does, case by case, and on its reference texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.evaluation.captions.ptb import tokenise, tokens

REFERENCES = Path(__file__).parents[2] / "../shared/data/eval_refs"


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("A man rides a horse.", "a man rides a horse"),
        ("I'm sure John's dog can't swim, and won't.", "i 'm sure john 's dog ca n't swim and wo n't"),
        ("You cannot; he's gonna. 'Tis so.", "you can not he 's gon na 't is so"),
        ("They don\u2019t like the dog\u2019s bowl.", "they do n't like the dog 's bowl"),
        ("y'all rock 'n' roll in the '90s at two o'clock", "y' all rock 'n' roll in the '90s at two o'clock"),
        (
            "a well-lit room -- with T-shirts -- and red/white flags",
            "a well-lit room with t-shirts and red/white flags",
        ),
        ("5 ft. of 1,000 at 3.5, 1/2 off: $5 or 10%", "5 ft. of 1,000 at 3.5 1/2 off $ 5 or 10 %"),
        ("It is 10:30 a.m. in the U.S. on Main St.", "it is 10:30 a.m. in the u.s. on main st."),
        ("Mr. Smith has plan B.", "mr. smith has plan b."),
        ("sign no. 5 says no.", "sign no. 5 says no"),
        ("a dog., a cat", "a dog. a cat"),
        ("Plan b. The man waits for J. K. Rowling.", "plan b the man waits for j. k. rowling"),
        ('"quoted" and \u201cquoted\u201d and `quoted`...', "quoted and quoted and quoted"),
        ("what?! really? yes!", "what ?! really yes"),
        ("a man (left) in a [red] hat", "a man -lrb- left -rrb- in a -lsb- red -rsb- hat"),
        ("salt & pepper, AT&T &amp; b&w", "salt & pepper at&t & b & w"),
        ("see www.example.com, #sunset @home", "see www.example.com #sunset @home"),
        ("caf\u00e9 \U0001f642 \u65e5\u672c", "caf\u00e9 \u65e5\u672c"),
        ("call 555 123 4567 now", "call 555\u00a0123\u00a04567 now"),
        ("  two   spaces\tand\nlines  ", "two spaces and lines"),
        ("...", ""),
        ("", ""),
    ],
)
def test_captions_are_cut_as_the_scorer_cuts_them(text: str, cut: str) -> None:
    assert tokenise(text) == cut


def test_punctuation_is_a_token_before_it_is_dropped() -> None:
    assert tokens("A dog, (barks).") == ["a", "dog", ",", "-lrb-", "barks", "-rrb-", "."]


def test_a_long_text_without_spaces_is_cut_in_no_time() -> None:
    assert tokens("a." * 5000 + "a" * 5000)


@pytest.mark.parametrize(
    ("captions", "cut"),
    [
        ("caption_metrics/coco_open_", "caption_metrics/coco_open_ptb_tokenized.json"),
        (
            "coco_caption_tylin_fakecap/fakecap_subset_val2017_",
            "coco_caption_tylin_fakecap/fakecap_subset_ptb_tokenized.json",
        ),
    ],
)
def test_every_reference_text_is_cut_as_the_scorer_cut_it(captions: str, cut: str) -> None:
    if not REFERENCES.is_dir():
        pytest.skip(f"the reference texts are not here: {REFERENCES}")
    candidates = json.loads((REFERENCES / f"{captions}candidates.json").read_bytes())
    said = {str(one["image_id"]): one["caption"] for one in candidates}
    given = json.loads((REFERENCES / f"{captions}references.json").read_bytes())
    for image, right in json.loads((REFERENCES / cut).read_bytes()).items():
        assert [tokenise(said[image])] == right["candidate"]
        assert [tokenise(text) for text in given[image]] == right["references"]
