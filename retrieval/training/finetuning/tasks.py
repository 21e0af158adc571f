"""The three tasks as modules: a batch goes in, named losses come out, whose sum is minimised.

Texts of a batch are known to every process, for the order of examples is; pictures are not: each process reads its
own, and what others made of theirs is gathered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrieval.models.blip import PROMPT, TEXT_LENGTH
from retrieval.models.preprocess import CAPTION_WORDS, pre_caption, pre_question
from retrieval.models.vocabulary import Vocabulary
from retrieval.training.finetuning.distributed import gathered
from retrieval.training.finetuning.examples import Example
from retrieval.training.finetuning.losses import (
    IGNORED,
    contrastive_loss,
    hard_negatives,
    matching_loss,
    shared_targets,
    softened,
    word_losses,
)
from retrieval.training.finetuning.momentum import Queue, Twin
from retrieval.training.finetuning.recipe import Recipe

TRAINED_WORDS = 30
"""Words of a caption in training (the authors' data sets of COCO and Flickr30k), where texts are no longer."""
CAPTION_LENGTH = 40
"""Tokens of a caption in training, the prompt among them (the authors' BLIP_Decoder), where texts are no longer."""
ANSWER_LENGTH = 35
"""Tokens of an answer; the authors cut none."""

FIRST_TEMPERATURE = 0.07
TEMPERATURES = (0.001, 0.5)


@dataclass(frozen=True)
class Batch:
    """What all processes see in one pass: `examples` of all of them, and the `pixels` of this one's `rows`.

    Pixels are normalised, float32 `[n, 3, R, R]`. `alpha` weighs soft targets, `seed` is that of the dice.
    """

    pixels: Tensor
    examples: Sequence[Example]
    rows: slice
    alpha: float
    seed: int


class Model(Protocol):
    """What is trained or measured: a network, its vocabulary, and the most tokens of a text that is given to it."""

    @property
    def network(self) -> Any:
        """One of transformers' BLIP classes."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """Texts to ids."""
        ...

    @property
    def text_length(self) -> int:
        """Tokens of a text, the first and [SEP] among them."""
        ...


class Truth(nn.Module):
    """Which text is true of which picture, by the pairs that are known; texts have numbers, as pictures have.

    Texts that a model reads alike are one text; it reads `words` of each.
    """

    keys: Tensor

    def __init__(self, examples: Sequence[Example], *, words: int = TRAINED_WORDS) -> None:
        super().__init__()
        self._words = words
        texts = sorted({pre_caption(example.text, max_words=words) for example in examples})
        self._numbers = {text: number for number, text in enumerate(texts)}
        keys = {self._key(example.picture, self._number(example)) for example in examples}
        # A buffer, to be where the batches are; no part of a checkpoint, for it follows from the examples.
        self.register_buffer("keys", torch.tensor(sorted(keys)), persistent=False)

    def numbers(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """The numbers of the pictures and of the texts of n examples, int64 `[n]` both."""
        pictures = [example.picture for example in examples]
        texts = [self._number(example) for example in examples]
        return torch.tensor(pictures, device=self.keys.device), torch.tensor(texts, device=self.keys.device)

    def between(self, pictures: Tensor, texts: Tensor) -> Tensor:
        """Whether each of n pictures is described by each of m texts: bool `[n, m]`."""
        wanted = self._key(pictures[:, None], texts[None, :])
        places = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        found: Tensor = self.keys[places] == wanted
        return found

    def _number(self, example: Example) -> int:
        return self._numbers[pre_caption(example.text, max_words=self._words)]

    def _key(self, picture: Any, text: Any) -> Any:
        """One number for a pair of numbers, or tensors of them."""
        return picture * len(self._numbers) + text


class MatchTask(nn.Module):
    """ITC and ITM with hard negatives, as BLIP fine-tunes for retrieval (ALBEF, section 3; BLIP, section 5.1).

    With a queue, ITC compares with what the momentum encoders say of this batch and said of earlier ones, and its
    targets are softened by them; without one, with the batch of all processes.
    """

    def __init__(self, model: Model, recipe: Recipe, examples: Sequence[Example]) -> None:
        super().__init__()
        network = model.network
        self.network, self._vocabulary, self._length = network, model.vocabulary, model.text_length
        self.temperature = nn.Parameter(torch.tensor(FIRST_TEMPERATURE))
        self.twin = Twin(network) if recipe.queue else None
        self.queue = Queue(recipe.queue, network.config.image_text_hidden_size) if recipe.queue else None
        self._momentum = recipe.momentum
        self._words = words_read(model)
        self.truth = Truth(examples, words=self._words)

    @torch.no_grad()
    def prepare(self) -> None:
        """Before an optimiser step: keep the temperature in its bounds and let the momentum encoders follow."""
        self.temperature.clamp_(*TEMPERATURES)
        if self.twin is not None:
            self.twin.follow(self.network, self._momentum)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses `itc` and `itm` of this process's rows; their mean over processes is that of the joined batch."""
        device = batch.pixels.device
        texts = [pre_caption(example.text, max_words=self._words) for example in batch.examples]
        ids, mask = padded(self._vocabulary, texts, first=self._vocabulary.cls, length=self._length, device=device)
        tokens = look(self.network, batch.pixels)
        own_images, own_texts = embed(self.network, tokens, ids[batch.rows], mask[batch.rows])
        images, words = gathered(own_images), gathered(own_texts)
        pictures, numbers = self.truth.numbers(batch.examples)
        truth = self.truth.between(pictures, numbers)
        if self.twin is None:
            itc = self._contrast(own_images, own_texts, images, words, truth, batch.rows)
        else:
            itc = self._contrast_with_queue(own_images, own_texts, batch, (ids, mask), (pictures, numbers))
        to_texts = compared(own_images, words, self.temperature).detach()
        to_images = compared(own_texts, images, self.temperature).detach()
        dice = torch.rand(2, len(texts), generator=torch.Generator().manual_seed(batch.seed)).to(device)
        false_texts = hard_negatives(to_texts, truth[batch.rows], dice[0, batch.rows])
        false_pictures = hard_negatives(to_images, truth.T[batch.rows], dice[1, batch.rows])
        ids = ids.clone()
        ids[:, 0] = self._vocabulary.enc
        return {"itc": itc, "itm": self._match(tokens, ids, mask, batch.rows, false_pictures, false_texts)}

    def _contrast(
        self, own_images: Tensor, own_texts: Tensor, images: Tensor, texts: Tensor, truth: Tensor, rows: slice
    ) -> Tensor:
        """ITC within the batch of all processes."""
        return contrastive_loss(
            compared(own_images, texts, self.temperature),
            compared(own_texts, images, self.temperature),
            shared_targets(truth[rows]),
            shared_targets(truth.T[rows]),
        )

    def _contrast_with_queue(
        self,
        own_images: Tensor,
        own_texts: Tensor,
        batch: Batch,
        words: tuple[Tensor, Tensor],
        numbers: tuple[Tensor, Tensor],
    ) -> Tensor:
        """ITC against the momentum encoders' embeddings of this batch and of the queue, then the queue moves on."""
        assert self.twin is not None
        assert self.queue is not None
        ids, mask = words
        with torch.no_grad():
            tokens = look(self.twin, batch.pixels)
            slow_images, slow_texts = embed(self.twin, tokens, ids[batch.rows], mask[batch.rows])
            new_images, new_texts = gathered(slow_images), gathered(slow_texts)
            old = self.queue.remembered()
            images, texts = torch.cat([new_images, old.images]), torch.cat([new_texts, old.texts])
            true_texts = self.truth.between(numbers[0][batch.rows], torch.cat([numbers[1], old.words]))
            true_images = self.truth.between(torch.cat([numbers[0], old.pictures]), numbers[1][batch.rows]).T
            by_images = compared(slow_images, texts, self.temperature)
            by_texts = compared(slow_texts, images, self.temperature)
            text_targets = softened(shared_targets(true_texts), by_images, batch.alpha)
            image_targets = softened(shared_targets(true_images), by_texts, batch.alpha)
        loss = contrastive_loss(
            compared(own_images, texts, self.temperature),
            compared(own_texts, images, self.temperature),
            text_targets,
            image_targets,
        )
        if self.training:
            self.queue.push(new_images, new_texts, *numbers)
        return loss

    def _match(
        self, tokens: Tensor, ids: Tensor, mask: Tensor, rows: slice, false_pictures: Tensor, false_texts: Tensor
    ) -> Tensor:
        """ITM over n true pairs, n texts with a false picture and n pictures with a false text."""
        everyone = gathered(tokens)
        pictures = torch.cat([tokens, everyone[false_pictures], tokens])
        texts = torch.cat([ids[rows], ids[rows], ids[false_texts]])
        masks = torch.cat([mask[rows], mask[rows], mask[false_texts]])
        states = self.network.text_encoder(
            input_ids=texts, attention_mask=masks, encoder_hidden_states=pictures
        ).last_hidden_state
        false = torch.cat([false_pictures, false_texts])
        labels = torch.cat([torch.ones_like(false_texts), torch.where(false < 0, IGNORED, 0)])
        return matching_loss(self.network.itm_head(states[:, 0]), labels)


class CaptionTask(nn.Module):
    """The next word of a caption after the prompt (BLIP, sections 3.2 and 5.2); what the prompt says is not scored."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network, self._vocabulary = model.network, model.vocabulary
        self._words, self._length = words_read(model), max(CAPTION_LENGTH, model.text_length)
        self._prompt = 1 + len(model.vocabulary.encode(PROMPT))

    def prepare(self) -> None:
        """Nothing has to be done before a step."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss `caption` per word; its mean over processes is that of the joined batch."""
        sums, scored = self.sums(batch)
        return {"caption": sums.sum() / scored.sum() * len(scored) / len(sums)}

    def sums(self, batch: Batch, *, smoothing: float | None = None) -> tuple[Tensor, Tensor]:
        """The summed loss of each own caption `[n]`, and how many words are scored of everyone's `[n * processes]`."""
        texts = [PROMPT + pre_caption(example.text, max_words=self._words) for example in batch.examples]
        device = batch.pixels.device
        ids, mask = padded(self._vocabulary, texts, first=self._vocabulary.dec, length=self._length, device=device)
        targets = ids.masked_fill(mask == 0, IGNORED)
        targets[:, : self._prompt] = IGNORED
        logits = self.network.text_decoder(
            input_ids=ids[batch.rows],
            attention_mask=mask[batch.rows],
            encoder_hidden_states=look(self.network, batch.pixels),
            use_cache=False,
        ).logits
        smoothed = {} if smoothing is None else {"smoothing": smoothing}
        return word_losses(logits, targets[batch.rows], **smoothed), (targets != IGNORED).sum(dim=1)


class AnswerTask(nn.Module):
    """Answers to questions, each weighted by how many people gave it (BLIP, section 5.3 and the authors' BLIP_VQA)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network, self._vocabulary, self._length = model.network, model.vocabulary, model.text_length

    def prepare(self) -> None:
        """Nothing has to be done before a step."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss `vqa`: summed over an answer's words, weighted over answers, the mean over questions."""
        words, device = self._vocabulary, batch.pixels.device
        own = batch.examples[batch.rows]
        questions = [pre_question(example.text) for example in own]
        ids, mask = padded(words, questions, first=words.enc, length=self._length, device=device)
        states = self.network.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=look(self.network, batch.pixels)
        ).last_hidden_state
        said = [(row, answer, weight) for row, one in enumerate(own) for answer, weight in one.answers]
        rows = torch.tensor([row for row, _, _ in said], device=device)
        weights = torch.tensor([weight for _, _, weight in said], device=device)
        answers = [answer for _, answer, _ in said]
        answer_ids, answer_mask = padded(words, answers, first=words.dec, length=ANSWER_LENGTH, device=device)
        logits = self.network.text_decoder(
            input_ids=answer_ids,
            attention_mask=answer_mask,
            encoder_hidden_states=states[rows],
            encoder_attention_mask=mask[rows],
            use_cache=False,
        ).logits
        losses = word_losses(logits, answer_ids.masked_fill(answer_mask == 0, IGNORED))
        return {"vqa": (weights * losses).sum() / len(own)}


AnyTask = MatchTask | CaptionTask | AnswerTask


def task_for(recipe: Recipe, model: Model, examples: Sequence[Example]) -> AnyTask:
    """Wrap a model in its task, with dropout and gradient checkpointing as the recipe says."""
    set_dropout(model.network, recipe.dropout)
    if recipe.checkpointing:
        model.network.activation_checkpointing_enable({"use_reentrant": False})
    match recipe.task:
        case "match":
            return MatchTask(model, recipe, examples)
        case "caption":
            return CaptionTask(model)
        case "vqa":
            return AnswerTask(model)


def words_read(model: Model) -> int:
    """How many words of a caption are trained on: the authors' 30, or as many as are served where texts are longer."""
    return TRAINED_WORDS if model.text_length <= TEXT_LENGTH else CAPTION_WORDS


def set_dropout(network: Any, share: float) -> None:
    """Set the dropout of the text side.

    The vision transformer has none; the stochastic depth that BLIP gives it for VQA and where it is large is left out.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Dropout) and name.startswith("text_"):
            module.p = share


def look(network: Any, pixels: Tensor) -> Tensor:
    """Image tokens `[n, t, c]` of normalised pictures."""
    tokens: Tensor = network.vision_model(pixel_values=pixels).last_hidden_state
    return tokens


def embed(network: Any, tokens: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """ITC embeddings of pictures and texts, float32 `[n, d]` both, of unit length."""
    states = network.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    images, texts = network.vision_proj(tokens[:, 0]), network.text_proj(states[:, 0])
    return functional.normalize(images.float(), dim=-1), functional.normalize(texts.float(), dim=-1)


def compared(one: Tensor, other: Tensor, temperature: Tensor) -> Tensor:
    """Similarities `[n, m]` of embeddings `[n, d]` and `[m, d]` over the temperature; float32 under autocast too."""
    with torch.autocast(one.device.type, enabled=False):
        return one @ other.T / temperature


def padded(
    vocabulary: Vocabulary, texts: Sequence[str], *, first: int, length: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids and mask, int64 `[n, s]`, s the longest text."""
    sequences = [vocabulary.sequence(text, first=first, length=length) for text in texts]
    longest = max(map(len, sequences))
    ids = [sequence + [vocabulary.pad] * (longest - len(sequence)) for sequence in sequences]
    mask = [[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
