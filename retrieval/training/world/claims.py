"""What a caption claims and whether it is true of a scene.

The grammar: one or more clauses joined by "and", then perhaps a place, and perhaps a time and a weather. A clause is a
mention ("three red apples", "a small cat facing left", "a sign saying open") or two mentions and how they lie ("a car
behind a tree"). Every mention is another thing of the scene. "a" means one, and numbers are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from retrieval.training.world.backdrops import TIMES, WEATHERS
from retrieval.training.world.letters import SIGN_WORDS
from retrieval.training.world.marks import TINTS
from retrieval.training.world.nouns import NOUN_OF, SINGULAR_OF, plural
from retrieval.training.world.scenes import Scene, Thing

RELATIONS: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "on": ("on", "on top of"),
    "behind": ("behind",),
    "front": ("in front of",),
}
OPPOSITE = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "on": "below",
    "behind": "front",
    "front": "behind",
}
PLACES: dict[str, str] = {
    "beach": "on the beach",
    "street": "on the street",
    "forest": "in the forest",
    "snow": "in the snow",
    "desert": "in the desert",
    "kitchen": "in the kitchen",
    "field": "in the field",
    "harbour": "at the harbour",
    "bedroom": "in the bedroom",
}
NUMBERS = ("no", "one", "two", "three", "four", "five")

_TIME_WORDS = {"day": "day", "dusk": "evening", "night": "night"}
_WEATHER_WORDS = {"clear": "clear", "rain": "rainy"}
_TIME_ALONE = {"day": "by day", "dusk": "at dusk", "night": "at night"}
_WEATHER_ALONE = {"clear": "in clear weather", "rain": "in the rain"}

DIRECTION_OF = {phrase: direction for direction, phrases in RELATIONS.items() for phrase in phrases}
PLACE_OF = {phrase: place for place, phrase in PLACES.items()}
AIR_OF: dict[str, tuple[str | None, str | None]] = {
    **{phrase: (time, None) for time, phrase in _TIME_ALONE.items()},
    **{phrase: (None, weather) for weather, phrase in _WEATHER_ALONE.items()},
    **{
        f"on a {_WEATHER_WORDS[weather]} {_TIME_WORDS[time]}": (time, weather) for time in TIMES for weather in WEATHERS
    },
}
_AIR_TEXT = {air: phrase for phrase, air in AIR_OF.items()}
_PHRASES = sorted(DIRECTION_OF, key=len, reverse=True)


class NotACaption(ValueError):
    """The text is outside the grammar of captions."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not a caption of this world: {text!r}")
        self.text = text


@dataclass(frozen=True)
class Mention:
    """A thing as a caption names it; what is empty or None is left open. The count never is."""

    name: str
    tint: str = ""
    count: int = 1
    size: str = ""
    facing: str = ""
    word: str = ""

    def fits(self, thing: Thing) -> bool:
        """Whether the thing may be called that."""
        return (
            NOUN_OF[self.name] == thing.noun
            and self.count == thing.count
            and self.tint in ("", thing.tint)
            and self.size in ("", thing.size)
            and self.facing in ("", thing.facing)
            and self.word in ("", thing.word)
        )


@dataclass(frozen=True)
class Clause:
    """One mention, or two and the words for how the first lies to the second."""

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
    time: str | None = None
    weather: str | None = None

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """Everything named, in order."""
        return tuple(mention for clause in self.clauses for mention in clause.mentions)


@dataclass(frozen=True)
class Slot:
    """Words of a caption, what they mean, and the number of the mention that they belong to (-1: to none).

    `heads` says that the words are the noun of that mention, `relates` that they relate the mention before them to
    the one after.
    """

    text: str
    meaning: str
    mention: int = -1
    heads: bool = False
    relates: bool = False


def is_true(caption: str, scene: Scene) -> bool:
    """Whether a caption is true of a scene. Raises NotACaption on a text outside the grammar."""
    return holds(parse(caption), scene)


def holds(claim: Claim, scene: Scene) -> bool:
    """Whether some choice of different things makes every clause true, and place, time and weather are as claimed."""
    if claim.place not in (None, scene.place) or claim.time not in (None, scene.time):
        return False
    if claim.weather not in (None, scene.weather) or len(claim.mentions) > len(scene.things):
        return False
    mentions = claim.mentions
    fitting = [[at for at, thing in enumerate(scene.things) if mention.fits(thing)] for mention in mentions]
    if not all(fitting):
        return False
    return any(
        all(at in fits for at, fits in zip(chosen, fitting, strict=True)) and _lie_right(claim, chosen, scene)
        for chosen in permutations(range(len(scene.things)), len(mentions))
    )


def requirements(claim: Claim) -> set[str]:
    """The words without which a scene cannot make the claim true: see `shown`."""
    found = {f"{mention.count} {NOUN_OF[mention.name]}" for mention in claim.mentions}
    found |= {mention.tint for mention in claim.mentions if mention.tint}
    found |= {mention.word for mention in claim.mentions if mention.word}
    return found | {part for part in (claim.place, claim.time, claim.weather) if part}


def shown(scene: Scene) -> set[str]:
    """What a scene has to offer to the requirements of claims."""
    found = {scene.place, scene.time, scene.weather}
    for thing in scene.things:
        found |= {f"{thing.count} {thing.noun}", thing.tint, thing.word}
    return found


def lies(direction: str, one: int, other: int, scene: Scene) -> bool:
    """How one thing lies to another, by number: left, right, above and below by cells; on and behind by their link."""
    thing, beside = scene.things[one], scene.things[other]
    match direction:
        case "left":
            return thing.column < beside.column
        case "right":
            return thing.column > beside.column
        case "above":
            return thing.row < beside.row
        case "below":
            return thing.row > beside.row
        case "front":
            return lies("behind", other, one, scene)
        case _:
            return any((link.kind, link.subject, link.object) == (direction, one, other) for link in scene.links)


def claim_text(claim: Claim) -> str:
    """The caption that a claim reads as."""
    return " ".join(slot.text for slot in claim_slots(claim) if slot.text)


def claim_slots(claim: Claim) -> list[Slot]:
    """The caption in slots; claims of one shape have the same number of slots."""
    slots: list[Slot] = []
    number = 0
    for position, clause in enumerate(claim.clauses):
        slots += [Slot("and", "")] if position else []
        slots += _mention_slots(clause.subject, number)
        number += 1
        if clause.relation is not None and clause.object is not None:
            slots += [
                Slot(clause.relation, DIRECTION_OF[clause.relation], relates=True),
                *_mention_slots(clause.object, number),
            ]
            number += 1
    slots.append(Slot(PLACES[claim.place] if claim.place else "", claim.place or ""))
    return slots + _air_slots(claim)


def wrong_words(claim: Claim, original: Claim) -> list[bool]:
    """For every word of a claim whether it says something else than the original of the same shape."""
    return [
        slot.meaning != other.meaning
        for slot, other in zip(claim_slots(claim), claim_slots(original), strict=True)
        for _ in slot.text.split()
    ]


def heads(claim: Claim) -> list[int]:
    """For every word of a claim the number of the mention whose noun it is, else -1."""
    return [slot.mention if slot.heads else -1 for slot in claim_slots(claim) for _ in slot.text.split()]


@lru_cache(maxsize=65536)
def parse(caption: str) -> Claim:
    """Take a caption apart. Raises NotACaption."""
    text, air, place = caption.strip(), (None, None), None
    for phrase, meant in AIR_OF.items():
        if text.endswith(f" {phrase}"):
            text, air = text.removesuffix(f" {phrase}"), meant  # type: ignore[assignment]
            break
    for phrase, name in PLACE_OF.items():
        if text.endswith(f" {phrase}"):
            text, place = text.removesuffix(f" {phrase}"), name
            break
    return Claim(tuple(_parse_clause(part, caption) for part in text.split(" and ")), place, *air)


def mention_text(mention: Mention) -> str:
    """How a caption names one thing."""
    return " ".join(slot.text for slot in _mention_slots(mention, 0) if slot.text)


def _lie_right(claim: Claim, chosen: Sequence[int], scene: Scene) -> bool:
    position = 0
    for clause in claim.clauses:
        if clause.relation is not None and not lies(
            DIRECTION_OF[clause.relation], chosen[position], chosen[position + 1], scene
        ):
            return False
        position += len(clause.mentions)
    return True


def _air_slots(claim: Claim) -> list[Slot]:
    """Time and weather: "on a rainy night" in slots of its words, or one of the two alone."""
    if claim.time and claim.weather:
        return [
            Slot("on a", ""),
            Slot(_WEATHER_WORDS[claim.weather], claim.weather),
            Slot(_TIME_WORDS[claim.time], claim.time),
        ]
    alone = _AIR_TEXT.get((claim.time, claim.weather), "")
    return [Slot("", ""), Slot(alone, claim.time or claim.weather or ""), Slot("", "")]


@lru_cache(maxsize=262144)
def _mention_slots(mention: Mention, number: int) -> tuple[Slot, ...]:
    several = mention.count > 1
    described = [(mention.size, mention.size), (mention.tint, mention.tint)]
    name = plural(mention.name) if several else mention.name
    following = next((word for word, _ in described if word), name)
    counted = NUMBERS[mention.count] if several else "an" if following[0] in "aeiou" else "a"
    return (
        Slot(counted, str(mention.count), number),
        *(Slot(text, meaning, number) for text, meaning in described),
        Slot(name, NOUN_OF[mention.name], number, heads=True),
        Slot("facing" if mention.facing else "", "", number),
        Slot(mention.facing, mention.facing, number),
        Slot("saying" if mention.word else "", "", number),
        Slot(mention.word, mention.word, number),
    )


def _parse_clause(text: str, caption: str) -> Clause:
    for phrase in _PHRASES:
        subject, found, other = text.partition(f" {phrase} ")
        if found:
            return Clause(_parse_mention(subject, caption), phrase, _parse_mention(other, caption))
    return Clause(_parse_mention(text, caption))


def _parse_mention(text: str, caption: str) -> Mention:
    words = text.split()
    if not words:
        raise NotACaption(caption)
    counted = words.pop(0)
    count = 1 if counted in ("a", "an") else NUMBERS.index(counted) if counted in NUMBERS[2:] else 0
    size = words.pop(0) if words and words[0] in ("small", "big") else ""
    tint = words.pop(0) if words and words[0] in TINTS else ""
    name = words.pop(0) if words else ""
    if count > 1:
        name = SINGULAR_OF.get(name, "")
    facing = words[1] if len(words) == 2 and words[0] == "facing" and words[1] in ("left", "right") else ""
    word = words[1] if len(words) == 2 and words[0] == "saying" and words[1] in SIGN_WORDS else ""
    if not count or name not in NOUN_OF or (words and not facing and not word):
        raise NotACaption(caption)
    return Mention(name, tint, count, size, facing, word)
