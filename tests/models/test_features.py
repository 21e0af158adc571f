"""Features of ALBEF, BLIP and BLIP-2 against the arrays that the authors' classes gave."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from retrieval.errors import RoleMissing
from retrieval.models.checkpoints import CHECKPOINTS
from retrieval.models.load import load_encoder, load_features
from retrieval.models.resolve import resolve

GOLDEN = Path(__file__).parent.parent / "golden"
SIMILARITY = 2e-6
STATE = 5e-6
NO_PIXELS = np.zeros((0,), dtype=np.uint8)


@dataclass(frozen=True)
class Opened:
    """A golden model that looks at the golden pictures, which are no files but arrays of normalised numbers."""

    model: Any
    texts: list[str]
    outputs: dict[str, NDArray[Any]]

    @property
    def tokens(self) -> torch.Tensor:
        return next(self.model.looks(NO_PIXELS))

    def images(self, *, projected: bool, every_token: bool = False) -> list[NDArray[np.float32]]:
        return self.model.image_features(NO_PIXELS, projected=projected, every_token=every_token)

    def read(self, *, projected: bool, every_token: bool = False) -> list[NDArray[np.float32]]:
        return self.model.text_features(self.texts, projected=projected, every_token=every_token)


def opened(name: str) -> Opened:
    folder = GOLDEN / name
    shared = load_features(resolve(str(folder)), device="cpu")
    # An object of its own: what is shared with other tests must keep its eyes.
    model: Any = type(shared).open(folder, name=name, device="cpu")  # type: ignore[attr-defined]
    with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs.npz") as outputs:
        pixels, known = torch.tensor(inputs["pixel_values"]), {key: outputs[key] for key in outputs.files}
    model.looks = lambda _: iter([model.look(pixels)])
    return Opened(model, json.loads((folder / "config.json").read_text())["texts"], known)


@pytest.fixture(params=["albef_retrieval", "blip_retrieval"])
def fused(request: pytest.FixtureRequest) -> Opened:
    return opened(request.param)


@pytest.fixture
def queried() -> Opened:
    return opened("blip2_qformer")


def close(got: Any, want: Any, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=tolerance)


def test_the_vector_of_a_picture_is_its_embedding(fused: Opened) -> None:
    close(fused.images(projected=True), fused.outputs["image_feat"][:, None], SIMILARITY)


def test_unprojected_a_picture_is_what_the_tower_says_of_its_class_token(fused: Opened) -> None:
    close(fused.images(projected=False), fused.outputs["image_embeds"][:, :1], STATE)


def test_every_token_of_a_picture_is_projected_alone_and_the_first_is_the_embedding(fused: Opened) -> None:
    states = fused.images(projected=False, every_token=True)
    close(states, fused.outputs["image_embeds"], STATE)
    vectors = fused.images(projected=True, every_token=True)
    close([one[0] for one in vectors], fused.outputs["image_feat"], SIMILARITY)
    with torch.inference_mode():
        by_hand = normalize(fused.model.network.vision_proj(torch.tensor(fused.outputs["image_embeds"])), dim=-1)
    close(vectors, by_hand, SIMILARITY)


def test_the_vector_of_a_text_is_its_embedding(fused: Opened) -> None:
    close(fused.read(projected=True), fused.outputs["text_feat"], SIMILARITY)
    close(fused.read(projected=False), fused.outputs["text_embeds"][:, 0], STATE)


def test_every_token_of_a_text_is_the_authors_and_padding_is_none_of_them(fused: Opened) -> None:
    states = fused.read(projected=False, every_token=True)
    vectors = fused.read(projected=True, every_token=True)
    for i, (state, vector) in enumerate(zip(states, vectors, strict=True)):
        assert len(state) == len(vector) == len(fused.model.encoder_ids(fused.texts[i]))
        close(state, fused.outputs["text_embeds"][i, : len(state)], STATE)
        close(vector[0], fused.outputs["text_feat"][i], SIMILARITY)
        close(np.linalg.norm(vector, axis=1), np.ones(len(vector)), SIMILARITY)


def test_a_pair_is_what_the_match_head_reads(fused: Opened) -> None:
    texts = fused.texts[2:6]
    vectors = fused.model.pair_features(NO_PIXELS, texts, every_token=False)
    wanted = [fused.outputs["fusion_cls"][i, i + 2] for i in range(4)]
    close([one[0] for one in vectors], wanted, STATE)
    tokens = fused.model.pair_features(NO_PIXELS, texts, every_token=True)
    assert [len(one) for one in tokens] == [len(fused.model.matcher_ids(text)) for text in texts]
    close([one[0] for one in tokens], wanted, STATE)


def test_a_picture_of_blip2_is_one_vector_for_each_query(queried: Opened) -> None:
    wanted = queried.outputs["feat_image_proj"]
    for every_token in (False, True):
        close(queried.images(projected=True, every_token=every_token)[: len(wanted)], wanted, SIMILARITY)
        close(queried.images(projected=False, every_token=every_token), queried.outputs["query_output"], STATE)


def test_a_text_of_blip2_is_projected_token_by_token(queried: Opened) -> None:
    close(queried.read(projected=True), queried.outputs["text_feat"], SIMILARITY)
    close(queried.read(projected=False), queried.outputs["text_cls"], STATE)
    vectors = queried.read(projected=True, every_token=True)
    for vector, wanted in zip(vectors, queried.outputs["feat_text_proj"], strict=False):
        close(vector, wanted[: len(vector)], SIMILARITY)


def test_a_pair_of_blip2_is_what_its_queries_read(queried: Opened) -> None:
    vectors = queried.model.pair_features(NO_PIXELS, queried.texts[:4], every_token=False)
    wanted = queried.outputs["multimodal_embeds"]
    close(vectors[: len(wanted)], wanted, STATE)
    close(queried.model.pair_features(NO_PIXELS, queried.texts[:4], every_token=True), vectors, 0)


@pytest.mark.parametrize("name", ["postcards", "postcards-blip2"])
def test_features_come_from_the_encoder_itself_whatever_their_number(name: str) -> None:
    extractor = load_features(CHECKPOINTS[name], device="cpu")
    encoder = load_encoder(CHECKPOINTS[name], device="cpu")
    assert extractor is encoder
    pixels = np.random.default_rng(3).integers(0, 256, (19, 144, 144, 3), dtype=np.uint8)
    texts = [f"a red car and {number} boats" for number in range(19)]
    wanted = {"projected": True, "every_token": False}
    close(extractor.image_features(pixels, **wanted), encoder.encode_images(pixels), 0)
    close(extractor.text_features(texts, **wanted), encoder.encode_texts(texts), 0)
    pairs = extractor.pair_features(pixels, texts, every_token=False)
    alone = extractor.pair_features(pixels[17:18], texts[17:18], every_token=False)
    close(pairs[17], alone[0], STATE)
    assert extractor.image_features(pixels[:0], **wanted) == []
    assert extractor.text_features([], **wanted) == []


def test_a_model_without_features_says_so() -> None:
    with pytest.raises(RoleMissing, match="hashing has no features"):
        load_features(CHECKPOINTS["hashing"])
