"""BLIP's forward passes for training: the same results as transformers' classes without dropout, a test compares them.

A patch embedding is one product here; for the rest see retrieval.training.layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from retrieval.training.layers import attend, fed, linear, mixed, norm, past


def see(vision: Any, pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Image tokens `[n, 1 + patches, width]` of pixels `[n, 3, R, R]`: the vision model's last hidden state.

    BLIP's and BLIP-2's vision models have the same parts.
    """
    embeddings, heads = vision.embeddings, vision.config.num_attention_heads
    patches = _patches(pixels.to(dtype), vision.config.patch_size)
    conv = embeddings.patch_embedding
    tokens = functional.linear(patches, conv.weight.flatten(1).to(dtype), conv.bias.to(dtype))
    first = embeddings.class_embedding.to(dtype).expand(len(pixels), 1, -1)
    states = torch.cat([first, tokens], dim=1) + embeddings.position_embedding[:, : tokens.shape[1] + 1].to(dtype)
    for layer in vision.encoder.layers:
        query, key, value = linear(layer.self_attn.qkv, norm(layer.layer_norm1, states)).chunk(3, dim=-1)
        states = states + linear(layer.self_attn.projection, attend(query, key, value, heads, None))
        inner = functional.gelu(linear(layer.mlp.fc1, norm(layer.layer_norm2, states)))
        states = states + linear(layer.mlp.fc2, inner)
    return norm(vision.post_layernorm, states)


def _patches(pixels: Tensor, size: int) -> Tensor:
    """The values of every patch in one row, `[n, patches, 3 * size * size]`, in one piece of memory: that is fast."""
    n, colours, side, _ = pixels.shape
    cut = pixels.view(n, colours, side // size, size, side // size, size).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(n, (side // size) ** 2, -1)


def read(
    encoder: Any,
    ids: Tensor,
    mask: Tensor,
    tokens: Tensor | None,
    dtype: torch.dtype,
    *,
    tokens_mask: Tensor | None = None,
    causal: bool = False,
) -> list[Tensor]:
    """States of texts `[m, t, width]` after the embedding and after every layer: BlipTextModel's hidden states.

    With `tokens [m, s, width]` they attend to those that `tokens_mask [m, s]` shows, or to all of them.
    """
    heads = encoder.config.num_attention_heads
    embedded = encoder.embeddings.word_embeddings(ids) + encoder.embeddings.position_embeddings.weight[: ids.shape[1]]
    states = norm(encoder.embeddings.LayerNorm, embedded.to(dtype))
    seen = mask[:, None, None, :].bool()
    if causal:
        seen = seen & past(ids.shape[1], device=ids.device)
    shown = None if tokens_mask is None else tokens_mask[:, None, None, :].bool()
    every = [states]
    for layer in encoder.encoder.layer:
        states = _block(layer.attention, states, states, heads, seen)
        if tokens is not None:
            states = _block(layer.crossattention, states, tokens, heads, shown)
        states = fed(layer.intermediate, layer.output, states)
        every.append(states)
    return every


def _block(block: Any, states: Tensor, attended: Tensor, heads: int, seen: Tensor | None) -> Tensor:
    own = block.self
    return mixed(own, block.output, states, linear(own.key, attended), linear(own.value, attended), heads, seen)
