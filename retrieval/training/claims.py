"""What a caption claims and whether it is true of a scene.

The grammar: one or more clauses joined by "and", then perhaps a place. A clause is a thing ("a red car") or two
things and how they lie ("a car to the left of a cat"). Every thing that a caption names is another thing of the scene.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from retrieval.training.nouns import NOUNS, SYNONYMS, TINTS
from retrieval.training.scenes import PLACES, Scene, Thing

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}

NOUN_OF = {name: noun for noun in NOUNS for name in (noun, *SYNONYMS.get(noun, ()))}
DIRECTION_OF = {phrase: direction for direction, phrases in RELATIONS.items() for phrase in phrases}
PLACE_OF = {phrase: place for place, phrase in PLACES.items()}


class NotACaption(ValueError):
    """The text is outside the grammar of captions."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not a caption of this world: {text!r}")
        self.text = text


@dataclass(frozen=True)
class Mention:
    """A thing as a caption names it: a noun or its synonym, with or without the tint."""

    name: str
    tint: str | None

    def fits(self, thing: Thing) -> bool:
        """Whether the thing may be called that."""
        return NOUN_OF[self.name] == thing.noun and self.tint in (None, thing.tint)


@dataclass(frozen=True)
class Clause:
    """One thing, or two and the words for how the first lies to the second."""

    subject: Mention
    relation: str | None = None
    object: Mention | None = None

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """The one or two things named."""
        return (self.subject,) if self.object is None else (self.subject, self.object)


@dataclass(frozen=True)
class Claim:
    """A caption taken apart; `claim_text` puts it together again."""

    clauses: tuple[Clause, ...]
    place: str | None = None

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """Everything named, in order."""
        return tuple(mention for clause in self.clauses for mention in clause.mentions)


def is_true(caption: str, scene: Scene) -> bool:
    """Whether a caption is true of a scene. Raises NotACaption on a text outside the grammar."""
    return holds(parse(caption), scene)


def holds(claim: Claim, scene: Scene) -> bool:
    """Whether some choice of different things makes every clause true, in the place that the claim names."""
    if claim.place is not None and claim.place != scene.place:
        return False
    mentions = claim.mentions
    return any(
        all(mention.fits(thing) for mention, thing in zip(mentions, chosen, strict=True)) and _lie_right(claim, chosen)
        for chosen in permutations(scene.things, len(mentions))
    )


def requirements(claim: Claim) -> set[str]:
    """The place, nouns and tints without which a scene cannot make the claim true."""
    found = {NOUN_OF[mention.name] for mention in claim.mentions}
    found |= {mention.tint for mention in claim.mentions if mention.tint}
    return found | ({claim.place} if claim.place else set())


def lies(direction: str, thing: Thing, other: Thing) -> bool:
    """Whether a thing lies left or right of, above or below another: by column or by row, in no need of a line."""
    match direction:
        case "left":
            return thing.column < other.column
        case "right":
            return thing.column > other.column
        case "above":
            return thing.row < other.row
        case _:
            return thing.row > other.row


def claim_text(claim: Claim) -> str:
    """The caption that a claim reads as."""
    return " ".join(text for text, _ in claim_slots(claim) if text)


def claim_slots(claim: Claim) -> list[tuple[str, str]]:
    """The caption in slots of (words, meaning); claims of one shape have the same number of slots."""
    slots: list[tuple[str, str]] = []
    for position, clause in enumerate(claim.clauses):
        slots += [("and", "")] if position else []
        slots += _mention_slots(clause.subject)
        if clause.relation is not None and clause.object is not None:
            slots += [(clause.relation, DIRECTION_OF[clause.relation]), *_mention_slots(clause.object)]
    return [*slots, (PLACES[claim.place] if claim.place else "", claim.place or "")]


def wrong_words(claim: Claim, original: Claim) -> list[bool]:
    """For every word of a claim whether it says something else than the original of the same shape."""
    return [
        meaning != other
        for (text, meaning), (_, other) in zip(claim_slots(claim), claim_slots(original), strict=True)
        for _ in text.split()
    ]


@lru_cache(maxsize=65536)
def parse(caption: str) -> Claim:
    """Take a caption apart. Raises NotACaption."""
    text, place = caption.strip(), None
    for phrase, name in PLACE_OF.items():
        if text.endswith(f" {phrase}"):
            text, place = text.removesuffix(f" {phrase}"), name
    return Claim(tuple(_parse_clause(part, caption) for part in text.split(" and ")), place)


def mention_text(mention: Mention) -> str:
    """How a caption names one thing."""
    return " ".join(text for text, _ in _mention_slots(mention) if text)


def article(word: str) -> str:
    """The article before a word."""
    return "an" if word[0] in "aeiou" else "a"


def _parse_clause(text: str, caption: str) -> Clause:
    for phrase in sorted(DIRECTION_OF, key=len, reverse=True):
        subject, found, other = text.partition(f" {phrase} ")
        if found:
            return Clause(_parse_mention(subject, caption), phrase, _parse_mention(other, caption))
    return Clause(_parse_mention(text, caption))


def _parse_mention(text: str, caption: str) -> Mention:
    found = re.fullmatch(r"an? (?:(\S+) )?(\S+)", text)
    if found is None or found[2] not in NOUN_OF or (found[1] is not None and found[1] not in TINTS):
        raise NotACaption(caption)
    return Mention(found[2], found[1])


def _mention_slots(mention: Mention) -> list[tuple[str, str]]:
    first = article(mention.tint or mention.name)
    return [(first, ""), (mention.tint or "", mention.tint or ""), (mention.name, NOUN_OF[mention.name])]


def _lie_right(claim: Claim, chosen: Sequence[Thing]) -> bool:
    at = 0
    for clause in claim.clauses:
        if clause.relation is not None and not lies(DIRECTION_OF[clause.relation], chosen[at], chosen[at + 1]):
            return False
        at += len(clause.mentions)
    return True
