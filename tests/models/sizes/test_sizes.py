"""ALBEF, BLIP and BLIP-2 at sizes that no published model has, against what the authors' layers compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SHAPES = {
    "one patch, one head, one block, one number": {
        "image": 16,
        "blocks": 1,
        "vision_heads": 1,
        "text_heads": 1,
        "embedding": 1,
    },
    "a text wider than the picture": {"vision": 16, "vision_heads": 2, "text": 72, "text_heads": 6, "text_mlp": 30},
    "a picture wider than the text": {"vision": 96, "vision_heads": 12, "vision_mlp": 33, "text": 24, "text_heads": 3},
    "many small patches": {"image": 35, "patch": 5, "vision_mlp": 130, "embedding": 40},
    "a table that ends where a text may end": {"longest": 9, "positions": 9, "layers": 3, "fusion": 2},
    "special tokens at other ids and a long table": {"unused": 90, "positions": 130, "longest": 60},
    "more than ten layers and blocks": {
        "blocks": 11,
        "layers": 11,
        "fusion": 5,
        "vision": 16,
        "vision_heads": 4,
        "vision_mlp": 24,
        "text": 24,
        "text_mlp": 20,
    },
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_size_is_read_from_the_weights_and_the_heads_from_the_configuration(
    shape: dict[str, int], family: Any, sizes: Any, agree: Any, tmp_path: Path
) -> None:
    agree(*family.made(tmp_path, sizes(**shape), seed=3), family)


@pytest.mark.parametrize(("layers", "fusion"), [(4, 1), (4, 2), (4, 3)])
def test_albef_looks_at_the_picture_from_whichever_layer_on(
    layers: int, fusion: int, families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    albef = families["albef"]
    agree(*albef.made(tmp_path, sizes(layers=layers, fusion=fusion)), albef)


@pytest.mark.parametrize("layers", [1, 5])
def test_blip_has_any_number_of_layers(
    layers: int, families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    blip = families["blip"]
    agree(*blip.made(tmp_path, sizes(layers=layers)), blip)


@pytest.mark.parametrize(("layers", "every"), [(1, 2), (3, 1), (3, 2), (5, 2), (4, 3), (5, 3), (7, 3)])
def test_queries_look_at_the_picture_every_so_many_layers_from_the_first_on(
    layers: int, every: int, families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    blip2 = families["blip2"]
    agree(*blip2.made(tmp_path, sizes(layers=layers, every=every)), blip2)


@pytest.mark.parametrize("queries", [1, 11])
def test_any_number_of_queries_looks(
    queries: int, families: dict[str, Any], sizes: Any, agree: Any, tmp_path: Path
) -> None:
    blip2 = families["blip2"]
    model, reference = blip2.made(tmp_path, sizes(queries=queries))
    assert model.vectors == queries
    agree(model, reference, blip2)


def test_one_picture_and_one_text_are_enough(family: Any, sizes: Any, agree: Any, tmp_path: Path) -> None:
    agree(*family.made(tmp_path, sizes()), family, images=1, texts=["two small boats"])


def test_more_texts_and_pairs_than_a_batch_holds(family: Any, sizes: Any, agree: Any, tmp_path: Path) -> None:
    texts = [" ".join(["dog"] * (1 + i % 7) + ["tree"] * (i % 3)) for i in range(130)]
    model, reference = family.made(tmp_path, sizes(text=16, text_heads=2, text_mlp=16))
    agree(model, reference, family, images=1, texts=texts)
