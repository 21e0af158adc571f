"""Ask: a caption of one picture, or an answer to a question about it."""

from __future__ import annotations

from PIL.Image import Image

from retrieval.models.roles import Answerer, Captioner
from retrieval.texts import require_words
from retrieval.types import Answer


def caption(image: Image, captioner: Captioner, *, item_id: int | None = None) -> Answer:
    """Describe a picture."""
    (text,) = captioner.caption(captioner.prepare(image)[None])
    return Answer(item_id, None, text, captioner.name)


def ask(image: Image, question: str, answerer: Answerer, *, item_id: int | None = None) -> Answer:
    """Answer a question about a picture."""
    require_words([question])
    (text,) = answerer.answer(answerer.prepare(image)[None], question)
    return Answer(item_id, question, text, answerer.name, tuple(answerer.unknown_words(question)))
