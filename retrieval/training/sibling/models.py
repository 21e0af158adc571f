"""The sibling's two models, fresh on a frozen vision tower, and the two folders that they are saved in.

`itm` is the Q-Former of stage one with its heads; `llm` a second Q-Former, without a text branch, whose outputs are
the prefix of a language model (BLIP-2, arXiv 2301.12597, sections 3.2 and 3.3). The tower is in neither file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import BertTokenizer, Blip2Config, Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval

from retrieval.models.blip2 import AFTER_VISION_EPS, QFORMER_EPS, VISION_EPS
from retrieval.models.spelling import Spelling
from retrieval.models.vocabulary import Vocabulary
from retrieval.training.folders import write_json, write_preprocessing, write_vocabulary
from retrieval.training.tower import PREFIX, Tower, share_tower

IMAGE_TOKEN = "<image>"  # a placeholder of transformers' own generation: one for each query
PROMPT_WORDS = ("question", "answer", ":")
PARTS = ("itm", "llm")


@dataclass(frozen=True)
class SiblingSize:
    """How large the sibling is: with 600 words, 2.8 million weights beside the tower."""

    queries: int = 8
    width: int = 128
    heads: int = 4
    layers: int = 4
    inner: int = 384
    cross_every: int = 2
    embedding: int = 128
    text_positions: int = 64
    language_width: int = 128
    language_heads: int = 4
    language_layers: int = 3
    language_inner: int = 512
    language_positions: int = 128
    longest_caption: int = 60


@dataclass(frozen=True)
class Sibling:
    """The two models, the words of the Q-Former, and those of the language model."""

    itm: Any
    llm: Any
    tokens: Sequence[str]
    language_tokens: Sequence[str]
    size: SiblingSize

    def by_name(self) -> dict[str, Any]:
        """The models under the names of their folders."""
        return {"itm": self.itm, "llm": self.llm}

    @property
    def vocabulary(self) -> Vocabulary:
        """What the Q-Former reads."""
        return Vocabulary(_numbered(self.tokens), folder=Path("itm"), rows=len(self.tokens), added=("[DEC]",))

    @property
    def spelling(self) -> Spelling:
        """What the language model reads and writes."""
        longest = self.size.language_positions
        return Spelling(_tokenizer(self.language_tokens, IMAGE_TOKEN, longest=longest).backend_tokenizer)


def fresh_sibling(tower: Tower, size: SiblingSize, tokens: Sequence[str], *, seed: int) -> Sibling:
    """Two models with random weights, the same for the same seed, on a tower that is no longer trained.

    `tokens` is a WordPiece list with BERT's special tokens and [DEC]; the language model gets the words of the
    question prompt besides.
    """
    more = [word for word in (*PROMPT_WORDS, IMAGE_TOKEN) if word not in tokens]
    language_tokens = [*tokens, *more]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        itm = Blip2ForImageTextRetrieval(_config(tower, size, tokens, language_tokens, reads_texts=True))
        llm = Blip2ForConditionalGeneration(_config(tower, size, tokens, language_tokens, reads_texts=False))
        for model in (itm, llm):
            # transformers begins with zeros: queries that are equal stay equal.
            torch.nn.init.normal_(model.query_tokens, std=0.02)
    for model in (itm, llm):
        model.vision_model.load_state_dict({key.removeprefix(PREFIX): value for key, value in tower.state.items()})
        model.vision_model.post_layernorm.eps = AFTER_VISION_EPS
        model.vision_model.requires_grad_(False)
    return Sibling(itm, llm, tokens, language_tokens, size)


def inherit_queries(llm: Any, itm: Any) -> None:
    """Start the second Q-Former from the first: everything but the text branch."""
    known = llm.state_dict()
    llm.load_state_dict({name: w for name, w in itm.state_dict().items() if name in known}, strict=False)


def save_sibling(sibling: Sibling, folder: Path, *, tower: Path) -> None:
    """Write the folders itm and llm: weights in float16, configuration, tokenizer, preprocessing.

    The weights of the tower stay in the file `tower`, which both folders name by its relative path; ValueError where
    a model has another tower.
    """
    tokens = {"itm": sibling.tokens, "llm": sibling.language_tokens}
    lengths = {"itm": sibling.size.text_positions, "llm": sibling.size.language_positions}
    for name, model in sibling.by_name().items():
        part = folder / name
        part.mkdir(parents=True, exist_ok=True)
        half = type(model)(model.config)
        half.load_state_dict(model.state_dict())
        half.half().save_pretrained(part)
        if not share_tower(part, tower):
            raise ValueError(f"the vision tower of {name} is not the one in {tower}")
        special = (IMAGE_TOKEN,) if name == "llm" else ()
        _tokenizer(tokens[name], *special, longest=lengths[name]).save_pretrained(part)
        write_vocabulary(part, tokens[name])
        write_preprocessing(part, model.config.vision_config.image_size, processor_class="Blip2Processor")
    write_json(folder / "llm" / "generation_config.json", _generation(sibling))


def count_weights(sibling: Sibling) -> dict[str, int]:
    """The weights of each model without the tower."""
    return {
        name: sum(weight.numel() for key, weight in model.named_parameters() if not key.startswith(PREFIX))
        for name, model in sibling.by_name().items()
    }


def _config(
    tower: Tower, size: SiblingSize, tokens: Sequence[str], language_tokens: Sequence[str], *, reads_texts: bool
) -> Blip2Config:
    ids = _numbered(language_tokens)
    qformer = {
        "vocab_size": len(tokens),
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.inner,
        "max_position_embeddings": size.text_positions,
        "cross_attention_frequency": size.cross_every,
        "layer_norm_eps": QFORMER_EPS,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "use_qformer_text_input": reads_texts,
        # BERT's 0.02 is made for a width of 768; at 32 and 0.02 the queries never began to see the picture.
        "initializer_range": size.width**-0.5,
    }
    language = {
        "model_type": "opt",
        "vocab_size": len(language_tokens),
        "hidden_size": size.language_width,
        "word_embed_proj_dim": size.language_width,
        "ffn_dim": size.language_inner,
        "num_hidden_layers": size.language_layers,
        "num_attention_heads": size.language_heads,
        "max_position_embeddings": size.language_positions,
        "dropout": 0.0,
        "init_std": size.language_width**-0.5,
        "bos_token_id": ids["[DEC]"],
        "eos_token_id": ids["[SEP]"],
        "pad_token_id": ids["[PAD]"],
    }
    return Blip2Config(
        vision_config={**tower.config, "layer_norm_eps": VISION_EPS},
        qformer_config=qformer,
        text_config=language,
        num_query_tokens=size.queries,
        image_text_hidden_size=size.embedding,
        # The match model's texts come without placeholders; generation by transformers itself needs them.
        image_token_index=None if reads_texts else ids[IMAGE_TOKEN],
    )


def _generation(sibling: Sibling) -> dict[str, Any]:
    text = sibling.llm.config.text_config
    return {
        "bos_token_id": text.bos_token_id,
        "eos_token_id": text.eos_token_id,
        "pad_token_id": text.pad_token_id,
        "num_beams": 3,
        "max_new_tokens": sibling.size.longest_caption,
        "min_new_tokens": 1,
    }


def _tokenizer(tokens: Sequence[str], *special: str, longest: int) -> BertTokenizer:
    return BertTokenizer(
        model_max_length=longest,
        vocab=_numbered(tokens),
        do_lower_case=True,
        bos_token="[DEC]",
        additional_special_tokens=[token for token in ("[ENC]", *special) if token in tokens],
    )


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(tokens)}
