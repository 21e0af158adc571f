"""The nouns of the world: every drawing by name, what each may be called, and its forms for one and for several."""

from __future__ import annotations

from retrieval.training.world.drawings.animals import ANIMALS
from retrieval.training.world.drawings.buildings import BUILDINGS
from retrieval.training.world.drawings.food import FOOD
from retrieval.training.world.drawings.plants import PLANTS
from retrieval.training.world.drawings.things import THINGS
from retrieval.training.world.drawings.vehicles import VEHICLES
from retrieval.training.world.marks import Noun

SIGN = "sign"  # drawn for its word: see letters

NOUNS: dict[str, Noun] = {
    noun.name: noun
    for noun in (
        *ANIMALS,
        *PLANTS,
        *VEHICLES,
        *BUILDINGS,
        *FOOD,
        *THINGS,
        Noun(SIGN, (), synonyms=("signpost",), tinted=False),
    )
}

_IRREGULAR = {word: plural for noun in NOUNS.values() for word, plural in noun.plurals}


def plural(word: str) -> str:
    """A name for several things of a kind."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


NOUN_OF: dict[str, str] = {name: noun.name for noun in NOUNS.values() for name in noun.names}
SINGULAR_OF: dict[str, str] = {plural(name): name for name in NOUN_OF}
