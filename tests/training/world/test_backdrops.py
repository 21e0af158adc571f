from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.training.world.backdrops import PLACES, TIMES, WEATHERS, backdrop
from retrieval.training.world.letters import SIGN_WORDS, word_marks
from retrieval.training.world.marks import PAINTS

AIRS = list(product(TIMES, WEATHERS))


def pixels(
    place: str, *, time: str = "day", weather: str = "clear", variant: int = 0, size: int = 96
) -> NDArray[np.float32]:
    return np.asarray(backdrop(place, time, weather, variant, size), dtype=np.float32)


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).mean())


def test_every_place_is_drawn_at_every_time_in_every_weather() -> None:
    for place, time, weather, variant in product(PLACES, TIMES, WEATHERS, range(4)):
        picture = backdrop(place, time, weather, variant, 32)
        assert (picture.mode, picture.size) == ("RGB", (32, 32))


def test_a_backdrop_is_drawn_the_same_twice() -> None:
    once = pixels("street", time="night", weather="rain")
    backdrop.cache_clear()
    assert np.array_equal(once, pixels("street", time="night", weather="rain"))


@pytest.mark.parametrize("place", PLACES)
def test_a_large_backdrop_shows_what_a_small_one_does(place: str) -> None:
    for time, weather in AIRS:
        large = backdrop(place, time, weather, 1, 288).resize((96, 96), Image.Resampling.LANCZOS)
        small = pixels(place, time=time, weather=weather, variant=1)
        assert difference(np.asarray(large, dtype=np.float32), small) < 8


@pytest.mark.parametrize(("time", "weather"), AIRS)
def test_no_two_places_look_alike(time: str, weather: str) -> None:
    shown = [pixels(place, time=time, weather=weather) for place in PLACES]
    assert min(difference(one, other) for one, other in combinations(shown, 2)) > 12


@pytest.mark.parametrize("place", PLACES)
def test_no_two_times_or_weathers_of_a_place_look_alike(place: str) -> None:
    shown = [pixels(place, time=time, weather=weather) for time, weather in AIRS]
    assert min(difference(one, other) for one, other in combinations(shown, 2)) > 6


@pytest.mark.parametrize("place", PLACES)
def test_day_is_brighter_than_dusk_and_dusk_is_brighter_than_night(place: str) -> None:
    for weather in WEATHERS:
        day, dusk, night = (float(pixels(place, time=time, weather=weather).mean()) for time in TIMES)
        assert day > dusk + 5
        assert dusk > night + 30


def test_variants_of_a_place_differ() -> None:
    for place in PLACES:
        shown = [pixels(place, variant=variant) for variant in range(4)]
        assert min(difference(one, other) for one, other in combinations(shown, 2)) > 1


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(KeyError):
        backdrop("moon", "day", "clear", 0, 32)


def test_there_are_fifty_words_for_signs_of_three_to_five_letters() -> None:
    assert len(SIGN_WORDS) == len(set(SIGN_WORDS)) == 50
    assert all(3 <= len(word) <= 5 and word.isalpha() and word.islower() for word in SIGN_WORDS)


def test_no_two_words_for_signs_differ_in_one_letter_only() -> None:
    for one, other in combinations(SIGN_WORDS, 2):
        if len(one) == len(other):
            assert sum(a != b for a, b in zip(one, other, strict=True)) > 1


def test_a_sign_fills_the_width_of_its_square_and_holds_its_letters() -> None:
    for word in SIGN_WORDS:
        marks = word_marks(word)
        assert {mark.paint for mark in marks} <= set(PAINTS)
        across = [value for mark in marks for value in mark.points[0::2]]
        assert (min(across), max(across)) == (0.0, 1.0)
        strokes = [mark for mark in marks if mark.paint == "ink"]
        assert len(strokes) >= len(word)
        assert all(0.22 < value < 0.80 for stroke in strokes for value in stroke.points[1::2])


def test_every_letter_can_be_written_and_nothing_else() -> None:
    for letters in ("abcde", "fghij", "klmno", "pqrst", "uvwxy", "zzz"):
        assert word_marks(letters)
    with pytest.raises(KeyError):
        word_marks("a-1")
