"""Captions of a scene: the fullest, those that say less in other words, and those that are wrong in a word or two."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from retrieval.training.claims import (
    DIRECTION_OF,
    NOUN_OF,
    OPPOSITE,
    RELATIONS,
    Claim,
    Clause,
    Mention,
    claim_text,
    holds,
    lies,
)
from retrieval.training.nouns import NOUNS, SYNONYMS, TINTS
from retrieval.training.scenes import PLACES, Scene, Thing

Change = Callable[[Claim, random.Random], Claim]


def fullest_caption(scene: Scene) -> str:
    """The caption that names everything: every thing with its tint, how the first two lie, and the place."""
    first, *rest = scene.things
    clauses = [Clause(Mention(first.noun, first.tint))]
    if rest:
        direction = _main_direction(first, rest[0])
        clauses = [Clause(clauses[0].subject, RELATIONS[direction][0], Mention(rest[0].noun, rest[0].tint))]
        clauses += [Clause(Mention(thing.noun, thing.tint)) for thing in rest[1:]]
    return claim_text(Claim(tuple(clauses), scene.place))


def some_claim(scene: Scene, rng: random.Random) -> Claim:
    """A true claim that may say less than everything."""
    count = rng.choices(range(1, len(scene.things) + 1), weights=(1, 3, 4)[: len(scene.things)])[0]
    things = rng.sample(scene.things, count)
    tinted = rng.choice((1.0, 1.0, 0.5, 0.0))
    mentions = [Mention(a_name(thing.noun, rng), thing.tint if rng.random() < tinted else None) for thing in things]
    clauses = [Clause(mention) for mention in mentions]
    if count > 1 and rng.random() < 0.85:
        at = rng.randrange(count - 1)
        direction = rng.choice([name for name in RELATIONS if lies(name, things[at], things[at + 1])])
        clauses[at : at + 2] = [Clause(mentions[at], rng.choice(RELATIONS[direction]), mentions[at + 1])]
    return Claim(tuple(clauses), scene.place if rng.random() < 0.5 else None)


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


def with_opposite_relations(claim: Claim) -> Claim:
    """The same claim with left for right, above for below, and the other way round."""
    opposite = [
        replace(clause, relation=RELATIONS[OPPOSITE[DIRECTION_OF[clause.relation]]][0]) if clause.relation else clause
        for clause in claim.clauses
    ]
    return replace(claim, clauses=tuple(opposite))


def a_name(noun: str, rng: random.Random) -> str:
    """A noun or, now and then, its synonym."""
    synonyms = SYNONYMS.get(noun, ())
    return rng.choice(synonyms) if synonyms and rng.random() < 0.25 else noun


def _changes(claim: Claim) -> list[Change]:
    changes: list[Change] = [_another_noun]
    if any(mention.tint for mention in claim.mentions):
        changes.append(_another_tint)
    if any(clause.relation for clause in claim.clauses):
        changes += [_another_relation] * 3  # the hardest to learn
    if claim.place:
        changes.append(_another_place)
    if len(claim.mentions) > 1:
        changes.append(_swapped)
    return changes


def _another_noun(claim: Claim, rng: random.Random) -> Claim:
    at = rng.randrange(len(claim.mentions))
    noun = rng.choice([name for name in NOUNS if name != NOUN_OF[claim.mentions[at].name]])
    return _with_mention(claim, at, replace(claim.mentions[at], name=a_name(noun, rng)))


def _another_tint(claim: Claim, rng: random.Random) -> Claim:
    at = rng.choice([place for place, mention in enumerate(claim.mentions) if mention.tint])
    tint = rng.choice([name for name in TINTS if name != claim.mentions[at].tint])
    return _with_mention(claim, at, replace(claim.mentions[at], tint=tint))


def _another_relation(claim: Claim, rng: random.Random) -> Claim:
    clauses = list(claim.clauses)
    at = rng.choice([place for place, clause in enumerate(clauses) if clause.relation])
    direction = DIRECTION_OF[clauses[at].relation or ""]
    other = OPPOSITE[direction] if rng.random() < 0.7 else rng.choice([name for name in RELATIONS if name != direction])
    clauses[at] = replace(clauses[at], relation=rng.choice(RELATIONS[other]))
    return replace(claim, clauses=tuple(clauses))


def _another_place(claim: Claim, rng: random.Random) -> Claim:
    return replace(claim, place=rng.choice([name for name in PLACES if name != claim.place]))


def _swapped(claim: Claim, rng: random.Random) -> Claim:
    """Two things of the claim trade their nouns or their tints."""
    one, two = rng.sample(range(len(claim.mentions)), 2)
    first, second = claim.mentions[one], claim.mentions[two]
    if rng.random() < 0.5 and first.tint and second.tint:
        claim = _with_mention(claim, one, replace(first, tint=second.tint))
        return _with_mention(claim, two, replace(second, tint=first.tint))
    claim = _with_mention(claim, one, replace(first, name=second.name))
    return _with_mention(claim, two, replace(second, name=first.name))


def _with_mention(claim: Claim, at: int, mention: Mention) -> Claim:
    mentions = [*claim.mentions[:at], mention, *claim.mentions[at + 1 :]]
    clauses = tuple(
        Clause(mentions.pop(0), clause.relation, mentions.pop(0) if clause.object else None) for clause in claim.clauses
    )
    return replace(claim, clauses=clauses)


def _main_direction(thing: Thing, other: Thing) -> str:
    across, down = other.column - thing.column, other.row - thing.row
    if abs(across) >= abs(down):
        return "left" if across > 0 else "right"
    return "above" if down > 0 else "below"
