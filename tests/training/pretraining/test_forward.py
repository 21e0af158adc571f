from __future__ import annotations

import pytest
import torch

from retrieval.training.blip import Models, Size, fresh_models
from retrieval.training.pretraining.forward import read, see
from retrieval.training.world.vocabulary import vocabulary, words

SIZE = Size(resolution=24, patch=8, width=32, heads=4, vision_layers=2, text_layers=3, embedding=8)


@pytest.fixture(scope="module")
def models() -> Models:
    made = fresh_models(SIZE, vocabulary(words()), seed=1)
    for model in made.by_name().values():
        model.eval()
    return made


@pytest.fixture
def texts() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(5, 100, (4, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 4:] = mask[3, 2:] = 0
    return ids, mask


@torch.no_grad()
def test_pictures_are_seen_as_transformers_sees_them(models: Models) -> None:
    pixels = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    theirs = models.itm.vision_model(pixels).last_hidden_state
    torch.testing.assert_close(see(models.itm.vision_model, pixels, torch.float32), theirs, atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("with_picture", [False, True])
def test_texts_are_read_as_transformers_reads_them(
    models: Models, texts: tuple[torch.Tensor, torch.Tensor], with_picture: bool
) -> None:
    ids, mask = texts
    tokens = torch.randn(4, 10, 32, generator=torch.Generator().manual_seed(3)) if with_picture else None
    theirs = models.itm.text_encoder(
        input_ids=ids, attention_mask=mask, encoder_hidden_states=tokens, output_hidden_states=True
    ).hidden_states
    ours = read(models.itm.text_encoder, ids, mask, tokens, torch.float32)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one[mask.bool()], other[mask.bool()], atol=2e-5, rtol=0)


@torch.no_grad()
def test_a_decoder_sees_no_later_word_and_no_padding_of_the_question(
    models: Models, texts: tuple[torch.Tensor, torch.Tensor]
) -> None:
    ids, mask = texts
    states = torch.randn(4, 7, 32, generator=torch.Generator().manual_seed(4))
    decoder = models.vqa.text_decoder
    ours = decoder.cls(read(decoder.bert, ids, mask, states, torch.float32, tokens_mask=mask, causal=True)[-1])
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        # One at a time and cut: transformers' cross-attention leaves out the mask of what is attended to.
        alone, seen = ids[row : row + 1, :length], states[row : row + 1, :length]
        theirs = decoder(input_ids=alone, encoder_hidden_states=seen, use_cache=False).logits
        torch.testing.assert_close(ours[row, :length], theirs[0], atol=2e-5, rtol=0)


@torch.no_grad()
def test_bfloat16_is_close_to_float32(models: Models, texts: tuple[torch.Tensor, torch.Tensor]) -> None:
    ids, mask = texts
    fine = read(models.itm.text_encoder, ids, mask, None, torch.float32)[-1]
    rough = read(models.itm.text_encoder, ids, mask, None, torch.bfloat16)[-1].float()
    assert 0 < (fine - rough).abs()[mask.bool()].max() < 0.1
