"""Captions of a scene: the fullest, those that say less in other words, and those that are wrong in a word or two."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from retrieval.training.world.backdrops import PLACES, TIMES, WEATHERS
from retrieval.training.world.claims import (
    DIRECTION_OF,
    OPPOSITE,
    RELATIONS,
    Claim,
    Clause,
    Mention,
    holds,
    lies,
)
from retrieval.training.world.letters import SIGN_WORDS
from retrieval.training.world.marks import TINTS
from retrieval.training.world.nouns import NOUN_OF, NOUNS, SIGN
from retrieval.training.world.scenes import MOST, Scene, Thing

Change = Callable[[Claim, random.Random], Claim]

_DRAWN = [name for name in NOUNS if name != SIGN]


def fullest_claim(scene: Scene) -> Claim:
    """The claim that says everything: every thing in full, how each two of them lie, the place and the air."""
    mentions = [full_mention(thing) for thing in scene.things]
    clauses = []
    for first in range(0, len(mentions), 2):
        if first + 1 == len(mentions):
            clauses.append(Clause(mentions[first]))
        else:
            phrases = RELATIONS[main_direction(scene, first, first + 1)]
            relation = phrases[-1] if mentions[first].facing else phrases[0]  # not "facing left left of"
            clauses.append(Clause(mentions[first], relation, mentions[first + 1]))
    return Claim(tuple(clauses), scene.place, scene.time, scene.weather)


def full_mention(thing: Thing) -> Mention:
    """A thing with everything that can be said of it."""
    return Mention(thing.noun, thing.tint, thing.count, thing.size, thing.facing, thing.word)


def some_claim(scene: Scene, rng: random.Random) -> Claim:
    """A true claim that may say less than everything, with synonyms."""
    count = rng.choices(range(1, len(scene.things) + 1), weights=(2, 4, 3, 2)[: len(scene.things)])[0]
    chosen = rng.sample(range(len(scene.things)), count)
    keep = rng.choice((1.0, 0.6, 0.6, 0.2))
    mentions = [_less(full_mention(scene.things[at]), keep, rng) for at in chosen]
    clauses: list[Clause] = []
    at = 0
    while at < count:
        relations = [] if at + 1 == count else _relations(scene, chosen[at], chosen[at + 1])
        if relations and rng.random() < 0.85:
            phrases = RELATIONS[rng.choice(relations)]
            words = phrases[-1] if mentions[at].facing else rng.choice(phrases)
            clauses.append(Clause(mentions[at], words, mentions[at + 1]))
            at += 2
        else:
            clauses.append(Clause(mentions[at]))
            at += 1
    return Claim(
        tuple(clauses),
        scene.place if rng.random() < 0.5 else None,
        scene.time if rng.random() < 0.4 else None,
        scene.weather if rng.random() < 0.4 else None,
    )


def corrupt(claim: Claim, scene: Scene, rng: random.Random) -> Claim:
    """The same claim with a word or two replaced by others of their class, so that it is false of the scene."""
    while True:
        changed = claim
        for _ in range(rng.choice((1, 1, 1, 2))):
            changed = rng.choice(_changes(changed))(changed, rng)
        if not holds(changed, scene):
            return changed


def with_another_noun(claim: Claim, scene: Scene, rng: random.Random) -> Claim:
    """The same claim with one noun replaced, so that it is false of the scene."""
    while True:
        changed = _another_noun(claim, rng)
        if not holds(changed, scene):
            return changed


def main_direction(scene: Scene, one: int, other: int) -> str:
    """How a caption says that one thing lies to another: their link if they touch, else along the longer way."""
    for direction in ("on", "behind", "front"):
        if lies(direction, one, other, scene):
            return direction
    thing, beside = scene.things[one], scene.things[other]
    across, down = beside.column - thing.column, beside.row - thing.row
    if abs(across) >= abs(down):
        return "left" if across > 0 else "right"
    return "above" if down > 0 else "below"


def a_name(noun: str, rng: random.Random) -> str:
    """A noun or, now and then, a synonym."""
    synonyms = NOUNS[noun].synonyms
    return rng.choice(synonyms) if synonyms and rng.random() < 0.35 else noun


def _relations(scene: Scene, one: int, other: int) -> list[str]:
    return [direction for direction in RELATIONS if lies(direction, one, other, scene)]


def _less(mention: Mention, keep: float, rng: random.Random) -> Mention:
    def kept(text: str) -> str:
        return text if rng.random() < keep else ""

    return replace(
        mention,
        name=a_name(mention.name, rng),
        tint=kept(mention.tint),
        size=kept(mention.size),
        facing=kept(mention.facing),
        word=kept(mention.word),
    )


def _changes(claim: Claim) -> list[Change]:
    changes: list[Change] = [_another_noun, _another_count]
    for found, change in (
        (any(mention.tint for mention in claim.mentions), _another_tint),
        (any(mention.size for mention in claim.mentions), _another_size),
        (any(mention.facing for mention in claim.mentions), _flipped),
        (any(mention.word for mention in claim.mentions), _another_word),
        (bool(claim.place), _another_place),
        (bool(claim.time or claim.weather), _another_air),
        (len(claim.mentions) > 1, _swapped),
    ):
        if found:
            changes.append(change)
    if any(clause.relation for clause in claim.clauses):
        changes += [_another_relation] * 2
    return changes


def _another_noun(claim: Claim, rng: random.Random) -> Claim:
    at = rng.randrange(len(claim.mentions))
    if claim.mentions[at].word:
        return claim
    noun = rng.choice([name for name in _DRAWN if name != NOUN_OF[claim.mentions[at].name]])
    return _with_mention(claim, at, replace(claim.mentions[at], name=a_name(noun, rng)))


def _another_tint(claim: Claim, rng: random.Random) -> Claim:
    at = _one(claim, rng, lambda mention: bool(mention.tint))
    tint = rng.choice([name for name in TINTS if name != claim.mentions[at or 0].tint])
    return _with_mention(claim, at or 0, replace(claim.mentions[at or 0], tint=tint))


def _another_size(claim: Claim, rng: random.Random) -> Claim:
    at = _one(claim, rng, lambda mention: bool(mention.size)) or 0
    size = "small" if claim.mentions[at].size == "big" else "big"
    return _with_mention(claim, at, replace(claim.mentions[at], size=size))


def _flipped(claim: Claim, rng: random.Random) -> Claim:
    at = _one(claim, rng, lambda mention: bool(mention.facing)) or 0
    facing = "left" if claim.mentions[at].facing == "right" else "right"
    return _with_mention(claim, at, replace(claim.mentions[at], facing=facing))


def _another_word(claim: Claim, rng: random.Random) -> Claim:
    at = _one(claim, rng, lambda mention: bool(mention.word)) or 0
    word = rng.choice([word for word in SIGN_WORDS if word != claim.mentions[at].word])
    return _with_mention(claim, at, replace(claim.mentions[at], word=word))


def _another_count(claim: Claim, rng: random.Random) -> Claim:
    """One more or one less, so that a group stays a group: the words for one and for several differ too much."""
    at = _one(claim, rng, lambda mention: NOUN_OF[mention.name] != SIGN)
    if at is None:
        return claim
    mention = claim.mentions[at]
    if mention.count == 1 and (mention.size or rng.random() < 0.7):
        return claim
    counts = [count for count in (mention.count - 1, mention.count + 1) if 1 <= count <= MOST]
    return _with_mention(claim, at, replace(mention, count=rng.choice(counts)))


def _another_relation(claim: Claim, rng: random.Random) -> Claim:
    clauses = list(claim.clauses)
    at = rng.choice([place for place, clause in enumerate(clauses) if clause.relation])
    direction = DIRECTION_OF[clauses[at].relation or ""]
    other = OPPOSITE[direction] if rng.random() < 0.7 else rng.choice([name for name in RELATIONS if name != direction])
    phrases = RELATIONS[other]
    words = phrases[-1] if clauses[at].subject.facing else rng.choice(phrases)
    clauses[at] = replace(clauses[at], relation=words)
    return replace(claim, clauses=tuple(clauses))


def _another_place(claim: Claim, rng: random.Random) -> Claim:
    return replace(claim, place=rng.choice([name for name in PLACES if name != claim.place]))


def _another_air(claim: Claim, rng: random.Random) -> Claim:
    if claim.weather and (not claim.time or rng.random() < 0.5):
        return replace(claim, weather=rng.choice([name for name in WEATHERS if name != claim.weather]))
    return replace(claim, time=rng.choice([name for name in TIMES if name != claim.time]))


def _swapped(claim: Claim, rng: random.Random) -> Claim:
    """Two mentions of the claim trade their tints, or everything: then relations are wrong."""
    one, two = rng.sample(range(len(claim.mentions)), 2)
    first, second = claim.mentions[one], claim.mentions[two]
    if first.tint and second.tint and rng.random() < 0.6:
        claim = _with_mention(claim, one, replace(first, tint=second.tint))
        return _with_mention(claim, two, replace(second, tint=first.tint))
    return _with_mention(_with_mention(claim, one, second), two, first)


def _one(claim: Claim, rng: random.Random, fits: Callable[[Mention], bool]) -> int | None:
    fitting = [at for at, mention in enumerate(claim.mentions) if fits(mention)]
    return rng.choice(fitting) if fitting else None


def _with_mention(claim: Claim, at: int, mention: Mention) -> Claim:
    mentions = [*claim.mentions[:at], mention, *claim.mentions[at + 1 :]]
    clauses = tuple(
        Clause(mentions.pop(0), clause.relation, mentions.pop(0) if clause.object else None) for clause in claim.clauses
    )
    return replace(claim, clauses=clauses)
