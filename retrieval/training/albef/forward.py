"""ALBEF's forward passes for training: the results of retrieval.models.albef without dropout (a test compares).

What makes them fast, besides retrieval.training.layers: a picture's keys are computed once however many texts ask for
them, and the last layer gives position 0 alone, which is all that ITM reads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retrieval.training.layers import fed, linear, mixed, norm


def read(network: Any, ids: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """States `[m, s, width]` of ids and mask `[m, s]` when no picture is there; the layers compute in `dtype`."""
    embeddings = network.text_encoder.embeddings
    words = embeddings.word_embeddings(ids) + embeddings.position_embeddings.weight[: ids.shape[1]]
    states = norm(embeddings.LayerNorm, (words + embeddings.token_type_embeddings.weight[0]).to(dtype))
    seen, heads = _seen(mask), _heads(network)
    for layer in network.text_encoder.layers[: network.config.text_config.fusion_layer]:
        states = fed(layer.intermediate, layer.output, _attended(layer, states, states, seen, heads))
    return states


def fuse(network: Any, states: Tensor, mask: Tensor, tokens: Tensor, rows: Tensor) -> list[Tensor]:
    """States behind every fusion layer: `[m, s, width]` each, `[m, 1, width]` behind the last.

    `states [m, s, width]` are of texts that were read; text k looks at the picture `rows[k]` of `tokens [n, t, c]`.
    """
    *layers, last = network.text_encoder.layers[network.config.text_config.fusion_layer :]
    seen, heads = _seen(mask), _heads(network)
    every = []
    for layer in layers:
        states = _looked(layer, _attended(layer, states, states, seen, heads), tokens, rows, heads)
        every.append(states)
    first = _attended(last, states[:, :1], states, seen, heads)
    return [*every, _looked(last, first, tokens, rows, heads)]


def _attended(layer: Any, states: Tensor, sources: Tensor, seen: Tensor, heads: int) -> Tensor:
    """What states `[m, r, width]` find in sources `[m, s, width]`: the layer's self-attention."""
    own = layer.attention.self
    return mixed(own, layer.attention.output, states, linear(own.key, sources), linear(own.value, sources), heads, seen)


def _looked(layer: Any, states: Tensor, tokens: Tensor, rows: Tensor, heads: int) -> Tensor:
    """The rest of a fusion layer: states `[m, r, width]` look at their pictures' tokens."""
    own = layer.crossattention.self
    key, value = linear(own.key, tokens)[rows], linear(own.value, tokens)[rows]
    found = mixed(own, layer.crossattention.output, states, key, value, heads, None)
    return fed(layer.intermediate, layer.output, found)


def _seen(mask: Tensor) -> Tensor:
    return mask[:, None, None, :].bool()


def _heads(network: Any) -> int:
    return int(network.config.text_config.num_attention_heads)
