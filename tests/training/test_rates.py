from __future__ import annotations

import pytest

from retrieval.training.rates import rate_share


def test_the_rate_rises_and_falls_to_nothing() -> None:
    assert rate_share(0, 100, 10) == pytest.approx(0.1)
    assert rate_share(9, 100, 10) == pytest.approx(1.0)
    assert rate_share(55, 100, 10) == pytest.approx(0.5)
    assert rate_share(99, 100, 10) < 0.001
