"""`python -m retrieval.training.sibling` trains the sibling of a bundled model; the same command goes on."""

from __future__ import annotations

from retrieval.training.on_tower import Course, run_course
from retrieval.training.sibling.lessons import Postcards
from retrieval.training.sibling.loop import SiblingRecipe, train_sibling


def read_steps(text: str) -> tuple[int, int, int]:
    """Read the steps of qformer, language and prefix: three numbers with commas between them."""
    qformer, language, prefix = (int(part) for part in text.split(","))
    return qformer, language, prefix


COURSE = Course(
    name="sibling",
    about=__doc__,
    model="postcards-blip2",
    recipe=SiblingRecipe(),
    lessons=Postcards,
    train=train_sibling,
    steps=read_steps,
)

if __name__ == "__main__":
    run_course(COURSE)
