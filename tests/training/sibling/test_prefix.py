"""Stage two: which words are counted, and what the language model sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from retrieval.models.blip2 import query_states
from retrieval.training.sibling.batches import Telling
from retrieval.training.sibling.models import Sibling, inherit_queries
from retrieval.training.sibling.prefix import LanguageStretch, PrefixStretch, spell

FINE = torch.float32


def test_the_reply_and_its_end_are_scored_and_the_prompt_is_not(sibling: Sibling) -> None:
    one, other = (
        spell(text, sibling.spelling, sibling.llm)
        for text in (Telling("a photo of", "red"), Telling("what?", "red left"))
    )
    names = [[sibling.language_tokens[i] for i in text.ids] for text in (one, other)]
    assert names == [["[DEC]", "a", "photo", "of", "red", "[SEP]"], ["[DEC]", "what", "?", "red", "left", "[SEP]"]]
    assert (names[0][one.scored], names[1][other.scored]) == ("red", "red")


def test_the_losses_are_means_over_words_and_over_replies(sibling: Sibling, lessons: Any) -> None:
    batch = lessons.told(0)
    batch = replace(batch, texts=[*batch.texts[:-1], Telling("a photo of", "red right green left blue")])
    losses = PrefixStretch(sibling.llm, sibling.spelling, FINE, hints=lessons.told_hints).losses(batch, 0)
    model = sibling.llm
    total, count = 0.0, 0
    by_reply = []
    with torch.no_grad():
        tokens = model.vision_model(batch.pixels).last_hidden_state
        prefix = model.language_projection(query_states(model, tokens))
        for text, row in zip(batch.texts, batch.rows, strict=True):
            spelled = spell(text, sibling.spelling, model)
            ids = torch.tensor([spelled.ids])
            embedded = torch.cat([prefix[row : row + 1], model.get_input_embeddings()(ids)], dim=1)
            logits = model.language_model(inputs_embeds=embedded).logits[0, prefix.shape[1] :]
            at = torch.arange(spelled.scored, ids.shape[1])
            total += cross_entropy(logits[at - 1], ids[0, at], reduction="sum").item()
            count += len(at)
            by_reply.append(cross_entropy(logits[at - 1], ids[0, at]).item())
    assert losses["words"].item() == pytest.approx(total / count, abs=1e-5)
    assert losses["replies"].item() == pytest.approx(sum(by_reply) / len(by_reply), abs=1e-5)


def test_hints_are_asked_at_their_tokens_before_the_last_layer(sibling: Sibling, lessons: Any) -> None:
    """The captions of the pictures have a hint at each of their two colours, the questions have none."""
    batch, model = lessons.told(0), sibling.llm
    stretch = PrefixStretch(model, sibling.spelling, FINE, hints=lessons.told_hints)
    found = stretch.losses(batch, 0)["side"]
    wanted = []
    with torch.no_grad():
        prefix = model.language_projection(query_states(model, model.vision_model(batch.pixels).last_hidden_state))
        for text, row in list(zip(batch.texts, batch.rows, strict=True))[::2]:
            ids = torch.tensor([spell(text, sibling.spelling, model).ids])
            embedded = torch.cat([prefix[row : row + 1], model.get_input_embeddings()(ids)], dim=1)
            hidden = model.language_model(inputs_embeds=embedded, output_hidden_states=True).hidden_states
            states = hidden[-2][0, prefix.shape[1] :]
            logits = stretch.hints["side"](states[[4, 6]])
            wanted.append(cross_entropy(logits, torch.tensor([0, 1])).item())
    assert found.item() == pytest.approx(sum(wanted) / len(wanted), abs=1e-5)


def test_stage_two_trains_queries_projection_and_language_but_no_tower(sibling: Sibling, lessons: Any) -> None:
    stretch = PrefixStretch(sibling.llm, sibling.spelling, FINE, hints={})
    stretch.losses(replace(lessons.told(0), hints={}), 0)["words"].backward()
    own = {id(weight) for weight in stretch.trained.parameters()}
    for name, weight in sibling.llm.named_parameters():
        assert (id(weight) in own) == (not name.startswith("vision_model.")), name
        assert (weight.grad is not None) == (id(weight) in own), name


def test_the_language_model_alone_is_trained_on_every_word(sibling: Sibling) -> None:
    texts = [Telling("a photo of", "red left"), Telling("what?", "red")]
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([spell(text, sibling.spelling, sibling.llm).ids])
        with torch.no_grad():
            logits = sibling.llm.language_model(input_ids=ids).logits[0, :-1]
        total += cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    stretch = LanguageStretch(sibling.llm, sibling.spelling, FINE)
    assert stretch.losses(texts, 0)["language"].item() == pytest.approx(total / count, abs=1e-5)


def test_the_second_qformer_starts_from_the_first_without_its_text_branch(sibling: Sibling) -> None:
    inherit_queries(sibling.llm, sibling.itm)
    one, other = sibling.itm.state_dict(), sibling.llm.state_dict()
    shared = [name for name in other if name.startswith(("qformer.", "query_tokens"))]
    assert all(torch.equal(one[name], other[name]) for name in shared)
    assert not any(".intermediate.dense" in name for name in shared)
    assert any(".intermediate.dense" in name for name in one)
