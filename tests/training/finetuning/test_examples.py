from __future__ import annotations

import math

import pytest
from PIL import Image

from retrieval.errors import TooFewExamples
from retrieval.training.finetuning.examples import Example, Examples, Picture, Plan, is_held_out
from retrieval.training.rates import alpha_at, rate_share


def test_a_picture_is_always_in_the_same_part() -> None:
    contents = [f"picture {number}" for number in range(1000)]
    tenth = {content for content in contents if is_held_out(content, 0.1)}
    assert tenth == {content for content in reversed(contents) if is_held_out(content, 0.1)}
    assert len(tenth) == pytest.approx(100, abs=30)


def test_a_larger_part_holds_out_what_a_smaller_one_does() -> None:
    contents = [f"picture {number}" for number in range(500)]
    tenth, fifth = ({content for content in contents if is_held_out(content, share)} for share in (0.1, 0.2))
    assert tenth < fifth
    assert not any(is_held_out(content, 0.0) for content in contents)


def test_the_digest_tells_what_is_trained_on_from_what_is_held_out() -> None:
    red, blue = Example(0, "red"), Example(0, "blue")
    picture = (Picture("a.png", "content", Image.Image),)
    parts = (((red,), ()), ((red,), (blue,)), ((red, blue), ()))
    digests = {Examples(picture, train, held_out).digest for train, held_out in parts}
    assert len(digests) == 3


def test_the_order_of_an_epoch_follows_from_seed_and_epoch() -> None:
    plan = Plan.of(100, batch=10, accumulate=1, processes=1, seed=1)
    assert sorted(plan.order(0)) == list(range(100))
    assert plan.order(0) == Plan.of(100, batch=5, accumulate=2, processes=1, seed=1).order(0)
    assert plan.order(0) != plan.order(1)


def test_two_processes_see_together_what_one_sees_alone() -> None:
    alone = Plan.of(50, batch=8, accumulate=2, processes=1, seed=1)
    together = Plan.of(50, batch=4, accumulate=2, processes=2, seed=1)
    assert alone.steps == together.steps == 3
    order = alone.order(4)
    for step in range(3):
        for part in range(2):
            assert alone.joined(order, step, part) == together.joined(order, step, part)


def test_no_example_comes_twice_in_an_epoch() -> None:
    plan = Plan.of(23, batch=3, accumulate=2, processes=1, seed=1)
    order = plan.order(0)
    seen = [number for step in range(plan.steps) for part in range(2) for number in plan.joined(order, step, part)]
    assert len(seen) == len(set(seen)) == 18


def test_a_small_gallery_gets_a_smaller_batch() -> None:
    assert Plan.of(7, batch=32, accumulate=1, processes=1, seed=1).batch == 7
    assert Plan.of(7, batch=32, accumulate=3, processes=1, seed=1).batch == 2


@pytest.mark.parametrize(("examples", "accumulate", "processes"), [(1, 1, 1), (3, 2, 1), (1, 1, 2), (0, 1, 1)])
def test_too_few_examples_for_a_negative_are_refused(examples: int, accumulate: int, processes: int) -> None:
    with pytest.raises(TooFewExamples):
        Plan.of(examples, batch=4, accumulate=accumulate, processes=processes, seed=1)


def test_texts_and_answers_that_speak_of_sides_are_known() -> None:
    assert Example(0, "A car, left of a cat").has_sides
    assert Example(0, "where is the car?", (("on the right", 1.0),)).has_sides
    assert not Example(0, "a bright leftover").has_sides


def test_the_rate_rises_over_the_warm_up_and_falls_by_half_a_cosine() -> None:
    shares = [rate_share(step, 14, 4) for step in range(14)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shares[4:] == [(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]


def test_alpha_rises_over_the_first_epoch() -> None:
    assert [alpha_at(0.4, step, 4) for step in (0, 1, 4, 9)] == pytest.approx([0.0, 0.1, 0.4, 0.4])
