"""BLIP-2's forward passes for training: the same results as transformers' classes without dropout (a test compares).

What makes them fast, besides retrieval.training.layers: a picture's keys are computed once however many texts ask for
them, the last layer gives the queries alone where only they are needed, and a text that is told goes on from the states
of the queries without a text, as the authors' code does by its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from retrieval.training.layers import attend, fed, linear, mixed, norm, past

_FIRST_POSITION = 2  # OPT's table of positions begins with two rows that are not used


def ask(model: Any, tokens: Tensor) -> list[Tensor]:
    """States of the queries `[n, v, width]`, before the first layer and after every one, when no text is there.

    `tokens [n, t, c]` are of n pictures; their number format is that of the whole pass, here and below.
    """
    states = _queries(model, tokens).expand(len(tokens), -1, -1)
    every = [states]
    for layer in model.qformer.encoder.layer:
        states = _looking(layer, _attended(layer, states, states, None, model), tokens, None, model)
        every.append(states)
    return every


def read(model: Any, ids: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The states of `ids [m, s]`, `[m, s, width]`, when no queries are there."""
    seen = mask[:, None, None, :].bool()
    states = _embedded(model, ids, dtype)
    for layer in model.qformer.encoder.layer:
        states = fed(layer.intermediate, layer.output, _attended(layer, states, states, seen, model))
    return states


def tell(model: Any, asked: Sequence[Tensor], ids: Tensor) -> Tensor:
    """The states of `ids [m, s]`, `[m, s, width]`, each of which sees the queries, its past and itself.

    `asked` is what `ask` gives, of the m texts' pictures. Queries do not see the text, so their states stay the same;
    padding on the right is nobody's past.
    """
    seen = past(ids.shape[1], before=asked[0].shape[1], device=ids.device)
    states = _embedded(model, ids, asked[0].dtype)
    for layer, queries in zip(model.qformer.encoder.layer, asked, strict=False):
        sources = torch.cat([queries, states], dim=1)
        states = fed(layer.intermediate, layer.output, _attended(layer, states, sources, seen, model))
    return states


def compare(model: Any, tokens: Tensor, rows: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The states of the queries `[m, v, width]` that see `ids [m, s]`, and are seen by them.

    Text k is read with picture `rows[k]` of `tokens [n, t, c]`. The states of the texts, `[m, s, width]` each, are
    those behind every layer but the last, whose nothing reads.
    """
    queries = _queries(model, tokens).expand(len(ids), -1, -1)
    count = queries.shape[1]
    seen = torch.cat([mask.new_ones(len(mask), count), mask], dim=1)[:, None, None, :].bool()
    states = torch.cat([queries, _embedded(model, ids, tokens.dtype)], dim=1)
    *layers, last = model.qformer.encoder.layer
    texts = []
    for layer in layers:
        found = _attended(layer, states, states, seen, model)
        asked = _looking(layer, found[:, :count], tokens, rows, model)
        texts.append(fed(layer.intermediate, layer.output, found[:, count:]))
        states = torch.cat([asked, texts[-1]], dim=1)
    return _looking(last, _attended(last, states[:, :count], states, seen, model), tokens, rows, model), texts


def go_on(language: Any, embedded: Tensor, prefix: Sequence[Tensor] = (), rows: Tensor | None = None) -> list[Tensor]:
    """States of an OPT `[m, s, width]` before every layer, and normed behind the last; each sees its past.

    `embedded [m, s, width]` goes on from the states of `prefix`, which the same function gives for what comes before:
    `[n, v, width]`, text k goes on from row `rows[k]`. Padding has to be on the right.
    """
    decoder = language.model.decoder
    heads = decoder.config.num_attention_heads
    start = prefix[0].shape[1] if prefix else 0
    end = start + embedded.shape[1]
    seen = past(embedded.shape[1], before=start, device=embedded.device)
    positions = decoder.embed_positions.weight[_FIRST_POSITION + start : _FIRST_POSITION + end]
    states = embedded + positions.to(embedded.dtype)
    every = [states]
    for number, layer in enumerate(decoder.layers):
        own, normed = layer.self_attn, norm(layer.self_attn_layer_norm, states)
        key, value = linear(own.k_proj, normed), linear(own.v_proj, normed)
        if prefix:
            before = norm(layer.self_attn_layer_norm, prefix[number])
            key, value = (
                torch.cat([linear(made, before)[rows], ours], dim=1)
                for made, ours in ((own.k_proj, key), (own.v_proj, value))
            )
        states = states + linear(own.out_proj, attend(linear(own.q_proj, normed), key, value, heads, seen))
        inner = functional.relu(linear(layer.fc1, norm(layer.final_layer_norm, states)))
        states = states + linear(layer.fc2, inner)
        every.append(states)
    every[-1] = norm(decoder.final_layer_norm, every[-1])
    return every


def _queries(model: Any, tokens: Tensor) -> Tensor:
    return norm(model.qformer.layernorm, model.query_tokens.to(tokens.dtype))


def _embedded(model: Any, ids: Tensor, dtype: torch.dtype) -> Tensor:
    embeddings = model.embeddings
    words = embeddings.word_embeddings(ids) + embeddings.position_embeddings.weight[: ids.shape[1]]
    return norm(model.qformer.layernorm, words.to(dtype))


def _attended(layer: Any, states: Tensor, sources: Tensor, seen: Tensor | None, model: Any) -> Tensor:
    """What states `[m, s, width]` find in sources `[m, t, width]`: the layer's self-attention."""
    own, heads = layer.attention.attention, model.qformer.config.num_attention_heads
    key, value = linear(own.key, sources), linear(own.value, sources)
    return mixed(own, layer.attention.output, states, key, value, heads, seen)


def _looking(layer: Any, states: Tensor, tokens: Tensor, rows: Tensor | None, model: Any) -> Tensor:
    """The rest of a layer for queries `[m, v, width]`: they look at their picture's tokens, where the layer does."""
    if layer.has_cross_attention:
        own, heads = layer.crossattention.attention, model.qformer.config.num_attention_heads
        key, value = linear(own.key, tokens), linear(own.value, tokens)
        if rows is not None:
            key, value = key[rows], value[rows]
        states = mixed(own, layer.crossattention.output, states, key, value, heads, None)
    return fed(layer.intermediate_query, layer.output_query, states)
