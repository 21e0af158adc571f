"""Stage two: which words are counted, and what the language model sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from retrieval.training.sibling.batches import Telling
from retrieval.training.sibling.models import Sibling, inherit_queries
from retrieval.training.sibling.prefix import LanguageStretch, PrefixStretch, spell, told_logits


def test_the_reply_and_its_end_are_counted_and_the_prompt_is_not(sibling: Sibling) -> None:
    texts = [Telling("a photo of", "red"), Telling("what?", "red left")]
    ids, mask, replied = spell(texts, sibling.spelling, sibling.llm)
    names = [[sibling.language_tokens[i] for i in row] for row in ids.tolist()]
    assert names == [
        ["[DEC]", "a", "photo", "of", "red", "[SEP]"],
        ["[DEC]", "what", "?", "red", "left", "[SEP]"],
    ]
    assert replied.int().tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert mask.sum() == 12


def test_the_prefix_loss_is_the_mean_over_the_words_of_replies(sibling: Sibling, lessons: Any) -> None:
    batch = lessons.told(0)
    stretch = PrefixStretch(sibling.llm, sibling.spelling)
    loss = stretch.losses(batch, 0)["prefix"]
    model = sibling.llm
    total, count = 0.0, 0
    with torch.no_grad():
        tokens = model.vision_model(batch.pixels).last_hidden_state
        queries = model.query_tokens.expand(len(tokens), -1, -1)
        states = model.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
        prefix = model.language_projection(states)
        for text, row in zip(batch.texts, batch.rows, strict=True):
            ids, mask, replied = spell([text], sibling.spelling, model)
            logits = told_logits(model, prefix[row : row + 1], ids, mask)[0]
            at = replied[0].nonzero()[:, 0]
            total += cross_entropy(logits[at - 1], ids[0, at], reduction="sum").item()
            count += len(at)
    assert loss.item() == pytest.approx(total / count, abs=1e-5)


def test_a_word_depends_on_the_prefix_and_on_its_past_alone(sibling: Sibling) -> None:
    model = sibling.llm.eval()
    ids, mask, _ = spell([Telling("a photo of", "red left")], sibling.spelling, model)
    later = ids.clone()
    later[0, 4] = ids[0, 5]
    prefix = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one, other = (told_logits(model, prefix, some, mask) for some in (ids, later))
        elsewhere = told_logits(model, prefix.flip(-1), ids, mask)
    assert torch.allclose(one[:, :4], other[:, :4], atol=1e-6)
    assert (one[:, 4:] - other[:, 4:]).abs().max() > 1e-4
    assert (one - elsewhere).abs().max() > 1e-4


def test_stage_two_trains_queries_projection_and_language_but_no_tower(sibling: Sibling, lessons: Any) -> None:
    stretch = PrefixStretch(sibling.llm, sibling.spelling)
    stretch.losses(lessons.told(0), 0)["prefix"].backward()
    own = {id(weight) for weight in stretch.trained.parameters()}
    for name, weight in sibling.llm.named_parameters():
        assert (id(weight) in own) == (not name.startswith("vision_model.")), name
        assert (weight.grad is not None) == (id(weight) in own), name


def test_the_language_model_alone_is_trained_on_every_word(sibling: Sibling, lessons: Any) -> None:
    texts = lessons.texts(0)[:1]
    stretch = LanguageStretch(sibling.llm, sibling.spelling)
    ids, mask, _ = spell(texts, sibling.spelling, sibling.llm)
    with torch.no_grad():
        logits = sibling.llm.language_model(input_ids=ids, attention_mask=mask).logits
    wanted = cross_entropy(logits[0, :-1], ids[0, 1:]).item()
    assert stretch.losses(texts, 0)["language"].item() == pytest.approx(wanted, abs=1e-5)


def test_the_second_qformer_starts_from_the_first_without_its_text_branch(sibling: Sibling) -> None:
    inherit_queries(sibling.llm, sibling.itm)
    one, other = sibling.itm.state_dict(), sibling.llm.state_dict()
    shared = [name for name in other if name.startswith(("qformer.", "query_tokens"))]
    assert all(torch.equal(one[name], other[name]) for name in shared)
    assert not any(".intermediate.dense" in name for name in shared)
    assert any(".intermediate.dense" in name for name in one)
