from __future__ import annotations

from pathlib import Path

from retrieval.training.finetuning.examples import Example
from retrieval.training.finetuning.measure import answers_as_said
from retrieval.training.finetuning.recipe import Task
from retrieval.training.finetuning.start import open_start, with_new_words


def test_an_answer_is_right_in_the_model_s_own_spelling(folders: dict[Task, Path]) -> None:
    start = with_new_words(open_start("vqa", folders["vqa"], name="tiny"), ("t", "-", "shirt", "cafe"), seed=1)
    example = Example(0, "what is it?", (("t-shirt", 0.5), ("café", 0.5)))
    assert answers_as_said(start, example) == {"t - shirt", "cafe"}


def test_an_answer_that_the_vocabulary_cannot_express_is_never_given(folders: dict[Task, Path]) -> None:
    start = open_start("vqa", folders["vqa"], name="tiny")
    example = Example(0, "what is it?", (("wug", 0.5), ("red wug", 0.5)))
    said = {start.vocabulary.decode(start.vocabulary.encode(answer)) for answer, _ in example.answers}
    assert said == {"", "red"}
    assert not said & answers_as_said(start, example)
