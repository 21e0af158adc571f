"""Galleries of held-out postcards in quadruplets of twins, as scenes and as folders."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.training.world.captions import fullest_claim
from retrieval.training.world.claims import Claim, claim_text, holds, requirements, shown
from retrieval.training.world.render import save_postcard
from retrieval.training.world.scenes import TIER_TESTS, Scene, Thing, Tier, draw_held_out
from retrieval.training.world.twins import Allowed, twin, twins

SIZE_OF_SET = 4

# The first scene of every gallery, so that a person knows what to ask for.
POSTER = Scene(
    "field",
    "day",
    "clear",
    (
        Thing("apple", "red", 0, 1, count=3, size=""),
        Thing("car", "blue", 2, 1, facing="right"),
    ),
)
POSTER_KINDS = ("places", "count", "facing")


@dataclass(frozen=True)
class Quadruplet:
    """A scene and three twins of it, with what was changed in each."""

    scene: Scene
    twins: tuple[Scene, ...]
    kinds: tuple[str, ...]

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """All four."""
        return (self.scene, *self.twins)


def quadruplets(count: int, *, seed: int, tier: Tier = "triple") -> list[Quadruplet]:
    """So many quadruplets of scenes that training never sees, no caption twice among them; first the poster's."""
    rng = random.Random(f"gallery {seed} {tier}")
    found = [_poster(rng)] if tier == "triple" else []
    said = {claim_text(fullest_claim(scene)) for one in found for scene in one.scenes}
    while len(found) < count:
        scene = draw_held_out(rng, tier=tier)
        others = twins(scene, rng, stays_in(tier), count=SIZE_OF_SET - 1)
        captions = [claim_text(fullest_claim(one)) for one in (scene, *(twin for _, twin in others))]
        if len(set(captions)) == SIZE_OF_SET and said.isdisjoint(captions):
            said.update(captions)
            found.append(Quadruplet(scene, tuple(twin for _, twin in others), tuple(kind for kind, _ in others)))
    return found


def _poster(rng: random.Random) -> Quadruplet:
    changed = [twin(POSTER, kind, rng, stays_in("triple")) for kind in POSTER_KINDS]
    return Quadruplet(POSTER, tuple(scene for scene in changed if scene is not None), POSTER_KINDS)


def stays_in(tier: Tier) -> Allowed:
    """Whether every pair of a changed scene is still kept out of training by this tier."""
    return lambda scene: TIER_TESTS[tier](scene.things)


def gallery_scenes(count: int, *, seed: int) -> list[Scene]:
    """The scenes of a gallery: whole quadruplets, the last one cut where the count asks for it."""
    wanted = quadruplets(-(-count // SIZE_OF_SET), seed=seed)
    return [scene for quadruplet in wanted for scene in quadruplet.scenes][:count]


def write_gallery(
    folder: Path, *, scenes: int = 2000, seed: int, advance: Callable[[int], None] = lambda _: None
) -> None:
    """Write held-out scenes as `postcard-0001.png` and on, with every fullest caption that is true of each.

    `advance` is told of every postcard that is drawn. Fewer scenes of the same seed are the first ones.
    `captions.jsonl` has a line per picture: {"file": name, "texts": [caption, ...]}, its own caption first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = gallery_scenes(scenes, seed=seed)
    claims = [fullest_claim(scene) for scene in drawn]
    with (folder / "captions.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
        for number, (scene, own) in enumerate(zip(drawn, claims, strict=True), start=1):
            name = f"postcard-{number:04d}.png"
            save_postcard(scene, folder / name)
            advance(1)
            texts = dict.fromkeys([claim_text(own), *map(claim_text, true_claims(claims, scene))])
            lines.write(json.dumps({"file": name, "texts": list(texts)}) + "\n")


def true_claims(claims: Sequence[Claim], scene: Scene) -> list[Claim]:
    """Those claims that are true of a scene."""
    there = shown(scene)
    return [claim for claim in claims if requirements(claim) <= there and holds(claim, scene)]
