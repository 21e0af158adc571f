"""The passes of training give what transformers' classes give."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from retrieval.models.blip2 import pair_states, query_states, text_states
from retrieval.models.network import padded
from retrieval.training.pretraining.forward import see
from retrieval.training.sibling.batches import Telling
from retrieval.training.sibling.forward import ask, compare, go_on, read, tell
from retrieval.training.sibling.models import Sibling, SiblingSize, fresh_sibling
from retrieval.training.sibling.prefix import spell
from retrieval.training.tower import Tower

FINE = torch.float32
TOKENS = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(3))
IDS = torch.tensor([[2, 5, 6, 7, 3], [2, 7, 6, 3, 0], [2, 9, 3, 0, 0], [2, 8, 11, 10, 3]])
MASK = (IDS != 0).long()
ROWS = torch.tensor([2, 0, 0, 1])


@pytest.fixture
def sibling(tower_folder: Any, size: SiblingSize, tokens: list[str]) -> Sibling:
    made = fresh_sibling(Tower.open(tower_folder), size, tokens, seed=1)
    generator = torch.Generator().manual_seed(4)
    for model in made.by_name().values():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):  # they begin at zero, where a bias that is left out does not show
                torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return made


def near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_pictures_are_seen_as_transformers_sees_them(sibling: Sibling) -> None:
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    vision = sibling.itm.vision_model
    near(see(vision, pixels, FINE), vision(pixels).last_hidden_state)


@torch.no_grad()
def test_queries_ask_as_transformers_does_whether_texts_are_read_or_not(sibling: Sibling) -> None:
    for model in (sibling.itm, sibling.llm):
        asked = ask(model, TOKENS)
        assert len(asked) == 3
        near(asked[-1], query_states(model, TOKENS))


@torch.no_grad()
def test_texts_are_read_alone_as_transformers_reads_them(sibling: Sibling) -> None:
    ours, theirs = read(sibling.itm, IDS, MASK, FINE), text_states(sibling.itm, IDS, MASK)
    near(ours[MASK.bool()], theirs[MASK.bool()])


@torch.no_grad()
def test_pairs_are_compared_as_users_pairs_are(sibling: Sibling) -> None:
    theirs = pair_states(sibling.itm, TOKENS[ROWS], IDS, MASK)
    near(compare(sibling.itm, TOKENS, ROWS, IDS, MASK)[0], theirs)


@torch.no_grad()
def test_the_texts_of_pairs_are_those_behind_every_layer_but_the_last(sibling: Sibling) -> None:
    model = sibling.itm
    found = compare(model, TOKENS, ROWS, IDS, MASK)[1]
    assert len(found) == 1
    behind_first: list[torch.Tensor] = []
    hook = model.qformer.encoder.layer[0].register_forward_hook(lambda _, __, out: behind_first.append(out))
    queries = model.query_tokens.expand(len(IDS), -1, -1)
    model.qformer(
        query_embeds=model.embeddings(input_ids=IDS, query_embeds=queries),
        query_length=3,
        attention_mask=torch.cat([MASK.new_ones(len(MASK), 3), MASK], dim=1),
        encoder_hidden_states=TOKENS[ROWS],
    )
    hook.remove()
    (theirs,) = behind_first
    near(found[0][MASK.bool()], theirs[:, 3:][MASK.bool()])


@torch.no_grad()
def test_told_texts_are_those_of_one_pass_under_the_papers_mask(sibling: Sibling) -> None:
    model = sibling.itm
    seen = torch.zeros(8, 8, dtype=torch.bool)  # three queries, then five words
    seen[:, :3] = True
    seen[3:, 3:] = torch.ones(5, 5).tril().bool()
    hidden = torch.zeros(4, 1, 8, 8).masked_fill(~seen, torch.finfo(FINE).min)
    queries = model.query_tokens.expand(4, -1, -1)
    theirs = model.qformer(
        query_embeds=model.embeddings(input_ids=IDS, query_embeds=queries),
        query_length=3,
        attention_mask=hidden,
        encoder_hidden_states=TOKENS[ROWS],
    ).last_hidden_state
    asked = [states[ROWS] for states in ask(model, TOKENS)]
    near(asked[-1], theirs[:, :3])
    near(tell(model, asked, IDS)[MASK.bool()], theirs[:, 3:][MASK.bool()])


@torch.no_grad()
def test_the_language_model_goes_on_as_transformers_does(sibling: Sibling) -> None:
    language = sibling.llm.language_model
    texts = [Telling("a photo of", "red left"), Telling("what?", "red"), Telling("a photo", "green right blue left")]
    spelled = [spell(text, sibling.spelling, sibling.llm).ids for text in texts]
    ids, mask = padded(spelled, pad=0, device="cpu")
    words = sibling.llm.get_input_embeddings()(ids)
    prefix, rows = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(5)), torch.tensor([1, 0, 1])
    alone = language(input_ids=ids, attention_mask=mask).logits
    whole = language(
        inputs_embeds=torch.cat([prefix[rows], words], dim=1),
        attention_mask=torch.cat([mask.new_ones(3, 3), mask], dim=1),
    ).logits[:, 3:]
    written = mask.bool()
    near(language.lm_head(go_on(language, words)[-1])[written], alone[written])
    behind = go_on(language, words, go_on(language, prefix), rows)
    near(language.lm_head(behind[-1])[written], whole[written])


def test_gradients_are_those_of_transformers_too(sibling: Sibling) -> None:
    model = sibling.itm
    weights = {name: w for name, w in model.named_parameters() if name.startswith(("qformer.", "query", "embeddings."))}
    found = []
    for states in (compare(model, TOKENS, ROWS, IDS, MASK)[0], pair_states(model, TOKENS[ROWS], IDS, MASK)):
        gradients = torch.autograd.grad(states.square().sum(), list(weights.values()), allow_unused=True)
        found.append(dict(zip(weights, gradients, strict=True)))
    for name in weights:
        ours, theirs = (one[name] for one in found)
        # The text's part of the last layer is nothing that queries see: no gradient here, zeros there.
        if ours is None:
            assert theirs is None or not theirs.any(), name
        else:
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4, msg=name)


@torch.no_grad()
def test_bfloat16_is_close_to_float32(sibling: Sibling) -> None:
    fine, _ = compare(sibling.itm, TOKENS, ROWS, IDS, MASK)
    rough, _ = compare(sibling.itm, TOKENS.bfloat16(), ROWS, IDS, MASK)
    assert rough.dtype == torch.bfloat16
    assert 0 < (fine - rough.float()).abs().max() < 0.1
