"""METEOR of captions, where the scorer of its authors is: a Java program with its own dictionary of paraphrases.

Denkowski and Lavie 2014 (WMT, "Meteor universal"), version 1.5 as the COCO caption scorer runs it. There is no METEOR
without that program: ports agree with it on no decimal, so where it is missing no number is given.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from retrieval.errors import NoMeteor

PACKAGE = "pycocoevalcap"


def why_not() -> str | None:
    """Say in one sentence what METEOR lacks here; None where it can be computed."""
    lacks = []
    if find_spec(PACKAGE) is None:
        lacks.append(f"the package {PACKAGE} (pip install {PACKAGE})")
    if shutil.which("java") is None:
        lacks.append("a Java runtime (java on the PATH)")
    return f"METEOR is not computed: it needs {' and '.join(lacks)}" if lacks else None


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """Score tokenised captions against their tokenised references: all together, and one by one; in [0, 1].

    Raises NoMeteor where it cannot be computed.
    """
    reason = why_not()
    if reason is not None:
        raise NoMeteor(reason)
    given = {str(i): list(some) for i, some in enumerate(references)}
    said = {str(i): [candidate] for i, candidate in enumerate(candidates)}
    try:
        with closing(_Scorer()) as scorer:
            together, each = scorer.score(given, said)
    except (OSError, ValueError) as error:
        raise NoMeteor(f"METEOR is not computed: its Java program gave no score ({error})") from error
    return float(together), [float(one) for one in each]


class _Scorer:
    """The package's own scorer, which holds a Java process."""

    def __init__(self) -> None:
        self._scorer: Any = import_module(f"{PACKAGE}.meteor.meteor").Meteor()

    def score(self, given: dict[str, list[str]], said: dict[str, list[str]]) -> tuple[float, list[float]]:
        together, each = self._scorer.compute_score(given, said)
        return together, each

    def close(self) -> None:
        # The package ends its process when it is collected, and leaves the pipes open.
        process = self._scorer.meteor_p
        process.kill()
        process.communicate()
