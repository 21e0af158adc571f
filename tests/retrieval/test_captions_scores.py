"""BLEU, ROUGE-L, CIDEr and METEOR: worked out by hand, and held against the COCO scorer's own numbers."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import NoMeteor
from retrieval.evaluation.captions.bleu import bleu
from retrieval.evaluation.captions.cider import cider
from retrieval.evaluation.captions.meteor import meteor, why_not
from retrieval.evaluation.captions.rouge import longest_common, rouge_l
from retrieval.evaluation.captions.score import CaptionScores, score

REFERENCES = Path(__file__).parents[2] / "../shared/data/eval_refs"


def test_bleu_counts_n_grams_that_a_reference_has_too() -> None:
    # Three of four words, two of three pairs, one of two triples, none of one quadruple.
    (one, two, three, four), _ = bleu(["a red dog runs"], [["a red dog sits"]])
    assert one == pytest.approx(3 / 4)
    assert two == pytest.approx((3 / 4 * 2 / 3) ** (1 / 2))
    assert three == pytest.approx((3 / 4 * 2 / 3 * 1 / 2) ** (1 / 3))
    assert four == pytest.approx(0, abs=1e-3)


def test_bleu_counts_a_repeated_word_as_often_as_one_reference_has_it() -> None:
    together, _ = bleu(["the the the"], [["the cat", "the dog and the bird"]])
    assert together[0] == pytest.approx(2 / 3)


def test_bleu_punishes_a_caption_that_is_shorter_than_the_closest_reference() -> None:
    together, _ = bleu(["a dog"], [["a dog runs", "a dog runs very fast"]])
    assert together[0] == pytest.approx(exp(1 - 3 / 2))


def test_of_two_equally_close_references_bleu_takes_the_shorter() -> None:
    together, _ = bleu(["a dog"], [["dog", "a dog runs"]])
    assert together[0] == pytest.approx(1)


def test_bleu_of_many_captions_is_no_mean_of_theirs() -> None:
    together, each = bleu(["a dog", "x y z w"], [["a dog"], ["a b c d"]])
    assert [one[0] for one in each] == pytest.approx([1, 0])
    assert together[0] == pytest.approx(2 / 6)


def test_the_longest_common_subsequence_may_have_gaps() -> None:
    assert longest_common(["a", "red", "dog", "on", "grass"], ["a", "dog", "sleeps", "on", "the", "grass"]) == 4
    assert longest_common(["a"], ["b"]) == 0


def test_rouge_takes_the_best_precision_and_the_best_recall() -> None:
    # Against the first 2 of 2 words are common, of its 4; against the second 1, of its 1.
    mean, each = rouge_l(["a dog"], [["a big brown dog", "dog"]])
    assert each == [pytest.approx((1 + 1.44) * 1 * 1 / (1 + 1.44 * 1))]
    assert mean == each[0]


def test_rouge_of_nothing_in_common_is_zero() -> None:
    assert rouge_l(["a dog"], [["the cats"]]) == (0.0, [0.0])


def test_cider_of_the_reference_itself_is_ten() -> None:
    texts = ["a red dog runs", "two cats sleep here"]
    _, each = cider(texts, [[text] for text in texts])
    assert each == pytest.approx([10, 10])


def test_cider_gives_nothing_for_words_that_every_picture_shares() -> None:
    _, each = cider(["a", "a"], [["a dog"], ["a cat"]])
    assert each == [0, 0]


def test_cider_weighs_by_rarity_and_punishes_another_length() -> None:
    # Of "dog" and "runs" (both in one of two pictures) the caption has "dog": the cosine of words is 1/sqrt(2), and the
    # one pair of words that it lacks makes the penalty exp(-1/72). Pairs and longer ones are not there: 0.
    _, each = cider(["dog", "cat"], [["dog runs"], ["cat"]])
    assert each[0] == pytest.approx(10 * (1 / 2**0.5) / 4 * exp(-1 / 72))


def test_cider_of_a_single_picture_is_zero() -> None:
    assert cider(["a dog"], [["a dog"]]) == (0.0, [0.0])


def test_no_captions_have_no_scores() -> None:
    assert rouge_l([], []) == (0.0, [])
    assert cider([], []) == (0.0, [])
    assert bleu([], [])[1] == []


def test_an_empty_caption_scores_zero_and_stops_nothing() -> None:
    said, given = ["", "a dog"], [["a cat"], ["a dog"]]
    assert rouge_l(said, given)[1] == [0, 1]
    assert cider(said, given)[1] == pytest.approx([0, 5])  # words and pairs are alike, longer n-grams are not there
    assert [one[0] for one in bleu(said, given)[1]] == pytest.approx([0, 1])


def test_captions_that_differ_from_others_do_not_fit_silently() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        score(["a dog", "a cat"], [["a dog"]])


def test_without_java_and_its_package_meteor_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    reason = why_not()
    assert reason is not None
    assert "Java runtime" in reason
    with pytest.raises(NoMeteor, match="METEOR is not computed"):
        meteor(["a dog"], [["a dog"]])
    scored = score(["a dog"], [["a dog"]])
    assert (scored.together.meteor, scored.why_no_meteor) == (None, reason)
    assert scored.together.to_json()["meteor"] is None


@pytest.mark.parametrize(
    ("captions", "right"),
    [
        ("caption_metrics/coco_open_", "caption_metrics/coco_open_expected.json"),
        ("coco_caption_tylin_fakecap/fakecap_subset_val2017_", "coco_caption_tylin_fakecap/expected_scores.json"),
    ],
)
def test_every_score_is_the_coco_scorers(captions: str, right: str) -> None:
    if not REFERENCES.is_dir():
        pytest.skip(f"the reference scores are not here: {REFERENCES}")
    candidates = json.loads((REFERENCES / f"{captions}candidates.json").read_bytes())
    said = {str(one["image_id"]): one["caption"] for one in candidates}
    given = json.loads((REFERENCES / f"{captions}references.json").read_bytes())
    expected = json.loads((REFERENCES / right).read_bytes())
    scored = score([said[image] for image in given], list(given.values()))
    assert _named(scored.together) == pytest.approx(_with(expected["scores"], scored.together), abs=1e-12)
    for image, one in zip(given, scored.each, strict=True):
        # The reference file keeps ten decimals of single captions.
        assert _named(one) == pytest.approx(_with(expected["per_image"][image], one), abs=1e-10)


def _named(scores: CaptionScores) -> dict[str, float]:
    named = {f"Bleu_{n}": value for n, value in enumerate(scores.bleu, start=1)}
    named |= {"ROUGE_L": scores.rouge_l, "CIDEr": scores.cider}
    return named if scores.meteor is None else {**named, "METEOR": scores.meteor}


def _with(expected: dict[str, Any], scores: CaptionScores) -> dict[str, float]:
    """What is expected of the scores that were computed: METEOR where it can be."""
    return {name: value for name, value in expected.items() if name != "METEOR" or scores.meteor is not None}
