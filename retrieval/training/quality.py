"""How good a checkpoint is on held-out postcards: recall before and after reranking, noun pairs, captions, answers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from retrieval.training.batches import pixels_of, truths
from retrieval.training.blip import PROMPT, Models
from retrieval.training.captions import fullest_caption, with_another_noun, with_opposite_relations
from retrieval.training.claims import Claim, NotACaption, claim_text, is_true, parse
from retrieval.training.postcards import gallery_scenes
from retrieval.training.questions import questions
from retrieval.training.scenes import Scene
from retrieval.training.vocabulary import Words, split

CANDIDATES = 32
SCENES = 500
SEED = 2026


@dataclass(frozen=True)
class Quality:
    """Shares in [0, 1]. A search is right where a caption that is true of a scene finds such a scene.

    `noun_pairs_ranked`: of a caption and the same with another noun, the true one scores higher (chance 0.5);
    `noun_pairs_judged`: both are judged rightly as match or not, counted one by one (chance 0.5);
    `relation_pairs_ranked`: the true one scores higher than the same with the opposite relation (chance 0.5).
    """

    itc_recall_at_1: float
    itc_recall_at_10: float
    itm_recall_at_1: float
    noun_pairs_ranked: float
    noun_pairs_judged: float
    relation_pairs_ranked: float
    captions_true: float
    captions_fullest: float
    answers_right: float


@torch.inference_mode()
def measure(models: Models, *, scenes: int = SCENES, seed: int = SEED) -> Quality:
    """Measure three models on held-out scenes, each scene's fullest caption as a query."""
    words = Words(models.tokens, models.itm.device)
    drawn = gallery_scenes(scenes, seed=seed)
    claims = [parse(fullest_caption(scene)) for scene in drawn]
    pixels = pixels_of(drawn, models.itm.config.vision_config.image_size).to(words.device)
    tokens = models.itm.vision_model(pixels).last_hidden_state
    ranked, judged = _noun_pairs(models.itm, words, drawn, tokens, seed)
    captions = _captions(models.caption, words, models.tokens, pixels)
    return Quality(
        *_recalls(models.itm, words, claims, pixels, truths(claims, drawn)),
        noun_pairs_ranked=ranked,
        noun_pairs_judged=judged,
        relation_pairs_ranked=_relation_pairs(models.itm, words, claims, tokens),
        captions_true=_share(_says_true(text, scene) for text, scene in zip(captions, drawn, strict=True)),
        captions_fullest=_share(
            _says_true(text, scene) and _says_all(text, scene) for text, scene in zip(captions, drawn, strict=True)
        ),
        answers_right=_answers_right(models.vqa, words, models.tokens, drawn, pixels, seed),
    )


def write_quality(quality: Quality, path: Path, *, scenes: int = SCENES, seed: int = SEED) -> None:
    """Write the numbers, with what they were measured on."""
    numbers = {name: round(value, 4) for name, value in asdict(quality).items()}
    text = json.dumps({"scenes": scenes, "seed": seed, **numbers}, indent=2)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_quality(path: Path) -> Quality:
    """Read the numbers back."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Quality(**{name: stored[name] for name in Quality.__dataclass_fields__})


def _recalls(
    itm: Any, words: Words, claims: Sequence[Claim], pixels: Tensor, truth: Tensor
) -> tuple[float, float, float]:
    """ITC recall at 1 and at 10, and recall at 1 when ITM reorders the best candidates by logit plus similarity."""
    texts = [claim_text(claim) for claim in claims]
    ids, mask = words.encode(texts)
    states = itm.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    queries = functional.normalize(itm.text_proj(states[:, 0]), dim=-1)
    tokens = itm.vision_model(pixels).last_hidden_state
    pictures = functional.normalize(itm.vision_proj(tokens[:, 0]), dim=-1)
    best, found = (queries @ pictures.T).topk(min(CANDIDATES, len(pictures)), dim=1)
    right = truth.T.to(found.device).gather(1, found)
    logits = torch.stack(
        [
            _matches(itm, words, [text] * found.shape[1], tokens[row])[:, 1]
            for text, row in zip(texts, found, strict=True)
        ]
    )
    first = (logits + best).argmax(dim=1, keepdim=True)
    return _share(right[:, 0]), _share(right[:, :10].any(dim=1)), _share(right.gather(1, first)[:, 0])


def _noun_pairs(itm: Any, words: Words, scenes: Sequence[Scene], tokens: Tensor, seed: int) -> tuple[float, float]:
    rng = random.Random(f"noun pairs {seed}")
    claims = [parse(fullest_caption(scene)) for scene in scenes]
    twins = [with_another_noun(claim, scene, rng) for claim, scene in zip(claims, scenes, strict=True)]
    true, false = (_matches(itm, words, [claim_text(claim) for claim in texts], tokens) for texts in (claims, twins))
    ranked = true[:, 1] > false[:, 1]
    judged = torch.cat([true[:, 1] > true[:, 0], false[:, 1] < false[:, 0]])
    return _share(ranked), _share(judged)


def _relation_pairs(itm: Any, words: Words, claims: Sequence[Claim], tokens: Tensor) -> float:
    rows = [row for row, claim in enumerate(claims) if len(claim.mentions) > 1]
    texts = [claim_text(claims[row]) for row in rows]
    opposite = [claim_text(with_opposite_relations(claims[row])) for row in rows]
    true, false = (_matches(itm, words, said, tokens[rows])[:, 1] for said in (texts, opposite))
    return _share(true > false)


def _matches(itm: Any, words: Words, texts: Sequence[str], tokens: Tensor) -> Tensor:
    """ITM logits `[n, 2]` of n texts with the tokens of n pictures."""
    ids, mask = words.encode(texts, first="[ENC]")
    states = itm.text_encoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=tokens).last_hidden_state
    logits: Tensor = itm.itm_head(states[:, 0])
    return logits


def _captions(model: Any, words: Words, tokens: Sequence[str], pixels: Tensor) -> list[str]:
    """Captions by greedy decoding, without the prompt."""
    ids, mask = words.encode([PROMPT] * len(pixels), first="[DEC]")
    written = model.generate(
        pixel_values=pixels, input_ids=ids, attention_mask=mask, max_length=24, num_beams=1, do_sample=False
    )
    return [_text(row, tokens)[len(PROMPT) :].strip() for row in written]


def _answers_right(
    model: Any, words: Words, tokens: Sequence[str], scenes: Sequence[Scene], pixels: Tensor, seed: int
) -> float:
    """The share of right answers, by greedy decoding, to two random questions per scene."""
    rng = random.Random(f"questions {seed}")
    asked = [(row, *pair) for row, scene in enumerate(scenes) for pair in questions(scene, rng)[:2]]
    asked.sort(key=lambda item: len(split(item[1])))
    right: list[bool] = []
    # Questions of one length at a time: the decoder would see padding of shorter ones.
    for _, group in groupby(asked, key=lambda item: len(split(item[1]))):
        rows, texts, answers = zip(*group, strict=True)
        ids, mask = words.encode(texts, first="[ENC]")
        written = model.generate(
            input_ids=ids,
            attention_mask=mask,
            pixel_values=pixels[list(rows)],
            max_length=10,
            num_beams=1,
            do_sample=False,
        )
        right += [_text(row, tokens) == answer for row, answer in zip(written, answers, strict=True)]
    return _share(right)


def _text(ids: Tensor, tokens: Sequence[str]) -> str:
    found = [tokens[number] for number in ids.tolist()]
    return " ".join(token for token in found if not token.startswith("["))


def _says_true(text: str, scene: Scene) -> bool:
    try:
        return is_true(text, scene)
    except NotACaption:
        return False


def _says_all(text: str, scene: Scene) -> bool:
    claim = parse(text)
    return claim.place is not None and len(claim.mentions) == len(scene.things)


def _share(flags: Any) -> float:
    values = [bool(flag) for flag in flags]
    return sum(values) / len(values)
