"""`python -m retrieval.training.albef` trains the ALBEF of a bundled model; the same command goes on."""

from __future__ import annotations

from retrieval.training.albef.lessons import DescribedPostcards
from retrieval.training.albef.loop import AlbefRecipe, train_albef
from retrieval.training.on_tower import Course, run_course

COURSE = Course(
    name="albef",
    about=__doc__,
    model="postcards-albef",
    recipe=AlbefRecipe(),
    lessons=DescribedPostcards,
    train=train_albef,
    steps=int,
)

if __name__ == "__main__":
    run_course(COURSE)
