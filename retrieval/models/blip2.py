"""BLIP-2 as its authors evaluate it, on transformers' modules: retrieval (ITC and ITM), captions and answers.

Source: Li et al., BLIP-2 (arXiv 2301.12597): section 3.2 for the Q-Former's two passes, section 3.3 for the prefix of
a language model. The modules are called one by one, because the classes around them differ from the authors' code
(salesforce/LAVIS): the vision tower's blocks use a layer norm of 1e-6 and the norm after them 1e-5, where transformers
has one number for both; and a pair is read without the placeholders that a processor puts in front of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    GenerationConfig,
)

from retrieval.errors import BadCheckpoint
from retrieval.models import authors, hub, material
from retrieval.models.material import Material
from retrieval.models.network import TEXT_SIZES, VISION_SIZES, Sighted, as_tensor, pick, placed
from retrieval.models.preprocess import CLIP_MEAN, CLIP_STD, pre_caption, pre_question
from retrieval.models.preprocess import spaced_punctuation as spaced
from retrieval.models.retriever import Retriever
from retrieval.models.roles import Precision
from retrieval.models.spelling import Spelling
from retrieval.models.vocabulary import Vocabulary
from retrieval.types import UInt8

# Raise by one whenever the embeddings of an unchanged weights file change.
ENCODER_REVISION = 1

TEXT_LENGTH = 35
PROMPT_LENGTH = 32  # the authors' max_txt_len, the first token included: what is longer loses its end
CAPTION_PROMPT = "a photo of"
QUESTION_PROMPT = "Question: {} Answer:"

VISION_EPS = 1e-6
AFTER_VISION_EPS = 1e-5  # the authors' ln_vision
QFORMER_EPS = 1e-12

# The authors' settings: COCO captions, and VQA with the length penalty of the paper.
CAPTION_SETTINGS = {"num_beams": 5, "max_new_tokens": 30, "min_new_tokens": 8, "length_penalty": 1.0}
ANSWER_SETTINGS = {"num_beams": 5, "max_new_tokens": 10, "min_new_tokens": 1, "length_penalty": -1.0}

_QFORMER_SIZES = (*TEXT_SIZES, "cross_attention_frequency")
_TIES = {"language_model.lm_head.weight": "language_model.model.decoder.embed_tokens.weight"}


class Blip2Retrieval(Retriever):
    """Encoder and matcher in one: they share the weights."""

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder in Hugging Face's layout, or a folder or file in the authors'."""
        found = material.gather(folder, "blip2", text_length=TEXT_LENGTH)
        network = _open(Blip2ForImageTextRetrieval, found, device=device, precision=precision)
        rows = network.embeddings.word_embeddings.num_embeddings
        vocabulary = Vocabulary.open(found.vocabulary, rows=rows, added=("[DEC]",))
        return cls(network, vocabulary, text_length=found.text_length, folder=folder, name=name)

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything beside the weights that decides the embeddings, for the fingerprint."""
        config = self.network.config
        return {
            "revision": ENCODER_REVISION,
            "image": ["RGB", "bicubic", self.image_size, CLIP_MEAN, CLIP_STD],
            "text": ["pre_caption", self.text_length, self.vocabulary.digest],
            "heads": [config.vision_config.num_attention_heads, config.qformer_config.num_attention_heads],
            "eps": [VISION_EPS, AFTER_VISION_EPS, QFORMER_EPS],
        }

    @property
    def dimension(self) -> int:
        """d: length of one vector."""
        return int(self.network.config.image_text_hidden_size)

    @property
    def vectors(self) -> int:
        """v: one vector for each query of the Q-Former."""
        return int(self.network.config.num_query_tokens)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the vocabulary cannot express, as written, each once, in order."""
        return self.vocabulary.unknown_words(spaced(text))

    def image_states(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the queries find in image tokens `[n, t, c]`: `[n, v, width]`."""
        return query_states(self.network, tokens)

    def text_states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States `[n, s, width]` of ids `[n, s]` that begin with [CLS]; the text alone, without the queries."""
        return text_states(self.network, ids, mask)

    def pair_states(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States of the queries `[m, v, width]` that read m pairs: image tokens `[m, t, c]` with ids `[m, s]`."""
        return pair_states(self.network, tokens, ids, mask)

    def pair_length(self, ids: Sequence[int]) -> int:
        """How many states a pair has: one for each query, whatever the text."""
        return self.vectors

    def map_images(self, states: torch.Tensor) -> torch.Tensor:
        """Image states `[..., c]` in the space of ITC, `[..., d]`."""
        return as_tensor(self.network.vision_projection(states))

    def map_texts(self, states: torch.Tensor) -> torch.Tensor:
        """Text states `[..., c]` in the space of ITC, `[..., d]`."""
        return as_tensor(self.network.text_projection(states))

    @torch.inference_mode()
    def compare(self, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ITM logits `[m, 2]` of m pairs, image tokens `[m, t, c]` with ids `[m, s]`: the mean over the queries."""
        return as_tensor(self.network.itm_head(self.pair_states(tokens, ids, mask))).mean(dim=1)

    def encoder_ids(self, text: str) -> list[int]:
        """[CLS], the pieces of a text, [SEP]."""
        return self.vocabulary.sequence(pre_caption(text), first=self.vocabulary.cls, length=self.text_length)

    matcher_ids = encoder_ids


class Blip2Generator(Sighted):
    """Captioner and answerer in one: the queries' outputs are the prefix that a language model goes on from."""

    def __init__(self, network: Any, spelling: Spelling, *, folder: Path, name: str) -> None:
        super().__init__(network, folder=folder, name=name)
        self.spelling = spelling
        self.generation = hub.read_generation(folder)
        # The authors stop OPT at a newline, which is no special token: the folder says which.
        end: int | list[int] = self.generation.get("eos_token_id", network.config.text_config.eos_token_id)
        self.ends = end if isinstance(end, list) else [end]

    @classmethod
    def open(cls, folder: Path, *, name: str, device: str | None = None, precision: Precision = "float32") -> Self:
        """Load a folder in Hugging Face's layout."""
        if authors.is_authors(folder):
            raise BadCheckpoint(folder, "the authors' file holds no language model: take this model's Hugging Face id")
        found = material.gather(folder, "blip2", text_length=TEXT_LENGTH)
        network = _open(Blip2ForConditionalGeneration, found, device=device, precision=precision)
        return cls(network, Spelling.open(folder), folder=folder, name=name)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a text that the language model cannot spell, as written, each once, in order."""
        return self.spelling.unknown_words(spaced(text))

    def caption(self, pixels: UInt8) -> list[str]:
        """Describe n prepared pictures `uint8 [n, R, R, 3]`: n captions without the prompt.

        Where the folder's generation_config.json states beams and lengths, they hold instead of the authors'.
        """
        settings = CAPTION_SETTINGS | pick(self.generation, tuple(CAPTION_SETTINGS))
        return [text for tokens in self.looks(pixels) for text in self.go_on(tokens, CAPTION_PROMPT, settings)]

    def answer(self, pixels: UInt8, question: str) -> list[str]:
        """Answer one question about n prepared pictures `uint8 [n, R, R, 3]`: n answers."""
        prompt = QUESTION_PROMPT.format(pre_question(question))
        return [text for tokens in self.looks(pixels) for text in self.go_on(tokens, prompt, ANSWER_SETTINGS)]

    @torch.inference_mode()
    def prefix(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the language model reads of image tokens `[n, t, c]`: `[n, v, width]`, before any word."""
        return as_tensor(self.network.language_projection(query_states(self.network, tokens)))

    @torch.inference_mode()
    def go_on(self, tokens: torch.Tensor, prompt: str, settings: Mapping[str, Any]) -> list[str]:
        """Let the language model go on from a prompt about n pictures' tokens `[n, t, c]`: n texts."""
        text = self.network.config.text_config
        prompted = [text.bos_token_id, *self.spelling.encode(prompt)][:PROMPT_LENGTH]
        ids = torch.tensor([prompted], device=tokens.device)
        words = self.network.get_input_embeddings()(ids).expand(len(tokens), -1, -1)
        embeddings = torch.cat([self.prefix(tokens), words], dim=1)
        generated = self.network.language_model.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long, device=tokens.device),
            generation_config=GenerationConfig(
                do_sample=False,
                bos_token_id=text.bos_token_id,
                pad_token_id=text.pad_token_id,
                eos_token_id=self.ends,
                **settings,
            ),
        )
        return [self.spelling.decode(list(takewhile(self._goes_on, row))) for row in generated.tolist()]

    def _goes_on(self, token: int) -> bool:
        return token not in self.ends


def query_states(network: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What the queries find in image tokens `[n, t, c]` when no text is there: `[n, v, width]`."""
    queries = network.query_tokens.expand(len(tokens), -1, -1)
    return as_tensor(network.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state)


def text_states(network: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The states of ids `[n, s]` when no queries are there: `[n, s, width]`."""
    embedded = network.embeddings(input_ids=ids)
    return as_tensor(network.qformer(query_embeds=embedded, query_length=0, attention_mask=mask).last_hidden_state)


def pair_states(network: Any, tokens: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The states of queries `[m, v, width]` and ids `[m, s]` that see each other: those of the queries.

    The queries look at image tokens `[m, t, c]`; `mask [m, s]` tells ids from padding.
    """
    queries = network.query_tokens.expand(len(tokens), -1, -1)
    count = queries.shape[1]
    states = network.qformer(
        query_embeds=network.embeddings(input_ids=ids, query_embeds=queries),
        query_length=count,
        attention_mask=torch.cat([mask.new_ones(len(mask), count), mask], dim=1),
        encoder_hidden_states=tokens,
    ).last_hidden_state
    return as_tensor(states[:, :count])


def _open(kind: Callable[[Any], Any], found: Material, *, device: str | None, precision: Precision) -> Any:
    """Build a network from its configuration and fill it from the weights."""
    try:
        with torch.device("meta"):
            network = kind(configure(found.config, reads_texts=kind is Blip2ForImageTextRetrieval))
    except Exception as error:  # transformers raises several kinds
        raise BadCheckpoint(
            found.path, f"its config.json is no BLIP-2 configuration ({type(error).__name__})"
        ) from error
    network.vision_model.post_layernorm.eps = AFTER_VISION_EPS
    found.fill(network, ties=_TIES)
    return placed(network, device=device, precision=precision)


def configure(stated: Mapping[str, Any], *, reads_texts: bool) -> Any:
    """Take the sizes from config.json, and the language model as it is; the rest is the authors' to say.

    Stage two removes the branch of the Q-Former that `reads_texts`.
    """
    vision = pick(stated.get("vision_config") or {}, VISION_SIZES)
    qformer = pick(stated.get("qformer_config") or {}, _QFORMER_SIZES)
    return Blip2Config(
        vision_config=vision | {"layer_norm_eps": VISION_EPS},
        qformer_config=qformer | {"layer_norm_eps": QFORMER_EPS, "use_qformer_text_input": reads_texts},
        text_config=stated.get("text_config"),
        **pick(stated, ("num_query_tokens", "image_text_hidden_size", "image_token_index")),
    )
