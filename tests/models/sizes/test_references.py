"""The references themselves: what they compute is what the authors' own classes computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parents[2] / "golden"
SETS = {"albef": "albef_retrieval", "blip": "blip_retrieval", "blip2": "blip2_qformer"}
SIMILARITY = 2e-6
LOGIT = 5e-6


def test_the_references_give_the_golden_similarities_and_logits(family: Any, sizes: Any) -> None:
    folder = GOLDEN / SETS[family.name]
    state = torch.load(folder / "checkpoint.pth", weights_only=True)["model"]
    reference = family.reference(state, sizes(**_stated(folder)))
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs.npz") as outputs:
        read = {name: torch.from_numpy(inputs[name]) for name in inputs}
        want = dict(outputs)
    mask = read["attention_mask"]
    tokens = reference.look(read["pixel_values"])
    shown, text = reference.project_images(tokens), reference.project_texts(read["input_ids"], mask)
    similarities = torch.einsum("nvd,md->nmv", shown, text).amax(-1)
    assert np.abs(similarities.numpy() - want["sim_itc"]).max() < SIMILARITY

    image, row = torch.cartesian_prod(torch.arange(len(tokens)), torch.arange(len(mask))).unbind(1)
    ids = read.get("enc_input_ids", read["input_ids"])
    logits = reference.compare(tokens[image], ids[row], mask[row])
    assert np.abs(logits.numpy() - want["itm_logits"].reshape(-1, 2)).max() < LOGIT


@pytest.mark.parametrize("grid", [5, 2])
@pytest.mark.parametrize("name", ["albef", "blip"])
def test_the_references_resize_positions_as_the_authors_do(
    name: str, grid: int, families: dict[str, Any], sizes: Any
) -> None:
    folder = GOLDEN / SETS[name]
    state = torch.load(folder / "checkpoint.pth", weights_only=True)["model"]
    resized = families[name].reference(state, sizes(**_stated(folder))).positions(grid * grid)
    with np.load(folder / "outputs.npz") as outputs:
        assert np.abs(resized.numpy() - outputs[f"pos_embed_resized_{grid}x{grid}"]).max() < 1e-6


def _stated(folder: Path) -> dict[str, int]:
    """The sizes that a reference does not see from the weights."""
    config = json.loads((folder / "config.json").read_text())
    text = config.get("bert") or config["qformer"]
    return {
        "blocks": config["vit"]["depth"],
        "vision_heads": config["vit"]["num_heads"],
        "layers": text["num_hidden_layers"],
        "text_heads": text["num_attention_heads"],
        "fusion": text.get("fusion_layer", 0),
        "every": text.get("cross_attention_freq", 0),
    }
