"""SigLIP and SigLIP 2 against transformers' own models, picture processors and tokenizer, on tiny random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)
from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

from api import Sightline
from api.settings import Settings
from retrieval.errors import BadCheckpoint, BadWeights
from retrieval.models.siglip import Siglip2Encoder, SiglipEncoder, unpacked
from retrieval.training.world.galleries import write_gallery

SIMILARITY = 2e-6
LENGTH = 16
PIECES = ["▁", "▁a", "▁red", "▁dog", "s", "▁cat", *"abcdefghijklmnopqrstuvwxyz0123456789"]
SHAPES = [(40, 24), (24, 40), (23, 23), (91, 57), (9, 30), (300, 31), (24, 24), (400, 3)]
TEXTS = ["a red dog", "A Red  DOG's cat!", "", "dogs, cats and more than sixteen pieces in one long text", "a"]
# By hand: the pieces of the cleaned texts; </s> ends them and fills them up, for the first SigLIP pads with it.
READ_BY_HAND = {
    "a red dog": ["▁a", "▁red", "▁dog"],
    "A Red-ish  DOG's ▁cat!": ["▁a", "▁red", "i", "s", "h", "▁dog", "s", "▁cat"],
    " (a)\n_dog_ ": ["▁a", "▁dog"],
    "": [],
}

Alter = Callable[..., Path]


def close(got: Any, want: Any, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=tolerance)


def pictures() -> list[Image.Image]:
    """Noise, each around a colour of its own."""
    numbers = np.random.default_rng(7)
    colours = numbers.integers(0, 200, (len(SHAPES), 1, 1, 3))
    noise = [numbers.integers(0, 56, (height, width, 3)) for width, height in SHAPES]
    return [Image.fromarray((one + colour).astype(np.uint8)) for one, colour in zip(noise, colours, strict=True)]


def prepared(encoder: SiglipEncoder | Siglip2Encoder, some: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([encoder.prepare(one) for one in some])


def save_first_tokenizer(folder: Path) -> None:
    """Save what the first SigLIP has: SentencePiece's unigrams, </s> for the end and for padding."""
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [(piece, -len(PIECES) / len(piece)) for piece in PIECES]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["</s>", "<unk>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    stated = {"tokenizer_class": "SiglipTokenizer", "eos_token": "</s>", "pad_token": {"content": "</s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))


def second_tokenizer() -> Siglip2Tokenizer:
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *PIECES[6:], "▁", ",", "!", "'", "do", "dog"]
    return Siglip2Tokenizer(
        vocab={token: row for row, token in enumerate(tokens)},
        merges=[("d", "o"), ("do", "g")],
        add_eos_token=True,
        padding_side="right",
    )


def sizes(vision: dict[str, Any], text: dict[str, Any]) -> dict[str, dict[str, Any]]:
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    return {
        "vision_config": {**layers, "hidden_size": 24, **vision},
        "text_config": {
            **layers,
            "hidden_size": 16,
            "vocab_size": 60,
            "max_position_embeddings": LENGTH,
            "projection_size": 24,
            **text,
        },
    }


def save_weights(network: Any, folder: Path) -> None:
    """Save random weights, every one of which matters."""
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn_like(weight) * 0.5)
    network.save_pretrained(folder)


def save_fixed(folder: Path, *, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None) -> Path:
    made = SiglipConfig(**sizes({"image_size": 24, "patch_size": 8, **(vision or {})}, text or {}))
    save_weights(SiglipModel(made), folder)
    side = made.vision_config.image_size
    SiglipImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    save_first_tokenizer(folder)
    return folder


def save_flexible(folder: Path, *, vision: dict[str, Any] | None = None, most: int = 12) -> Path:
    made = Siglip2Config(**sizes({"patch_size": 8, "num_patches": 9, **(vision or {})}, {}))
    save_weights(Siglip2Model(made), folder)
    patch = made.vision_config.patch_size
    Siglip2ImageProcessorPil(patch_size=patch, max_num_patches=most).save_pretrained(folder)
    second_tokenizer().save_pretrained(folder)
    return folder


def unit(features: torch.Tensor) -> NDArray[np.float32]:
    return torch.nn.functional.normalize(features, dim=-1).numpy()


def transformers_images(network: Any, inputs: Any) -> NDArray[np.float32]:
    with torch.inference_mode():
        return unit(network.get_image_features(**inputs).pooler_output)


def transformers_texts(network: Any, ids: list[list[int]]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return unit(network.get_text_features(input_ids=torch.tensor(ids)).pooler_output)


def second_ids(texts: list[str], *, side: str = "right") -> list[list[int]]:
    found = second_tokenizer()(texts, padding="max_length", truncation=True, max_length=LENGTH, padding_side=side)
    return found["input_ids"]


@pytest.fixture(scope="module")
def fixed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_fixed(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def flexible_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_flexible(tmp_path_factory.mktemp("naflex"))


@pytest.fixture(scope="module")
def fixed(fixed_folder: Path) -> SiglipEncoder:
    return SiglipEncoder.open(fixed_folder, name="tiny", device="cpu")


@pytest.fixture(scope="module")
def flexible(flexible_folder: Path) -> Siglip2Encoder:
    return Siglip2Encoder.open(flexible_folder, name="tiny", device="cpu")


@pytest.fixture(params=["fixed", "flexible"])
def either(request: pytest.FixtureRequest) -> SiglipEncoder | Siglip2Encoder:
    """A test that holds for both."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def altered(tmp_path: Path) -> Alter:
    """Copy a folder with one of its files changed: the content goes through a function."""

    def alter(folder: Path, file: str, change: Callable[[Any], Any]) -> Path:
        for one in folder.iterdir():
            (tmp_path / one.name).write_bytes(one.read_bytes())
        path = tmp_path / file
        if file == "model.safetensors":
            state = load_file(path)
            change(state)
            save_file(state, path, metadata={"format": "pt"})
        else:
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))
        return tmp_path

    return alter


def test_embeddings_are_those_of_transformers(fixed: SiglipEncoder, fixed_folder: Path) -> None:
    network = SiglipModel.from_pretrained(fixed_folder)
    inputs = SiglipImageProcessorPil.from_pretrained(fixed_folder)(pictures(), return_tensors="pt")
    images = fixed.encode_images(prepared(fixed, pictures()))
    assert images.shape == (len(SHAPES), fixed.vectors, fixed.dimension)
    assert images.dtype == np.float32
    close(images[:, 0], transformers_images(network, inputs), SIMILARITY)
    texts = fixed.encode_texts(TEXTS)
    close(texts, transformers_texts(network, [fixed.wording.sequence(text) for text in TEXTS]), SIMILARITY)
    assert np.ptp(images[:, 0], axis=0).max() > 0.1
    assert np.ptp(texts, axis=0).max() > 0.1


def test_embeddings_of_pictures_that_keep_their_aspect_are_those_of_transformers(
    flexible: Siglip2Encoder, flexible_folder: Path
) -> None:
    network = Siglip2Model.from_pretrained(flexible_folder)
    inputs = Siglip2ImageProcessorPil.from_pretrained(flexible_folder)(pictures(), return_tensors="pt")
    images = flexible.encode_images(prepared(flexible, pictures()))
    assert images.shape == (len(SHAPES), flexible.vectors, flexible.dimension)
    close(images[:, 0], transformers_images(network, inputs), SIMILARITY)
    close(flexible.encode_texts(TEXTS), transformers_texts(network, second_ids(TEXTS)), SIMILARITY)
    assert np.ptp(images[:, 0], axis=0).max() > 0.1


def test_siglip_2_of_one_resolution_reads_as_siglip_2_and_sees_as_siglip(tmp_path: Path) -> None:
    save_fixed(tmp_path)
    SiglipImageProcessorPil(size={"height": 24, "width": 24}, resample=2).save_pretrained(tmp_path)
    second_tokenizer().save_pretrained(tmp_path)
    encoder = SiglipEncoder.open(tmp_path, name="second", device="cpu")
    network = SiglipModel.from_pretrained(tmp_path)
    inputs = SiglipImageProcessorPil.from_pretrained(tmp_path)(pictures(), return_tensors="pt")
    images = encoder.encode_images(prepared(encoder, pictures()))
    close(images[:, 0], transformers_images(network, inputs), SIMILARITY)
    close(encoder.encode_texts(TEXTS), transformers_texts(network, second_ids(TEXTS)), SIMILARITY)


def test_texts_of_siglip_lose_case_and_punctuation(fixed: SiglipEncoder) -> None:
    rows = ["<pad>", "</s>", "<unk>", *PIECES]
    for text, pieces in READ_BY_HAND.items():
        read = [rows[number] for number in fixed.wording.sequence(text)]
        assert read == pieces + ["</s>"] * (LENGTH - len(pieces))


def test_texts_of_siglip_2_lose_case_alone(flexible: Siglip2Encoder) -> None:
    texts = [*TEXTS, "a ΔΟΣ, <eos> dog"]
    assert [flexible.wording.sequence(text) for text in texts] == second_ids(texts)
    close(flexible.encode_texts(["A DOG"]), flexible.encode_texts(["a dog"]), 0)
    assert np.abs(flexible.encode_texts(["a dog!"]) - flexible.encode_texts(["a dog"])).max() > 0.001


def test_gemmas_tokenizer_which_keeps_case_is_given_small_letters(
    altered: Alter, flexible_folder: Path, flexible: Siglip2Encoder
) -> None:
    path = altered(flexible_folder, "tokenizer.json", lambda content: content["normalizer"]["normalizers"].pop(0))
    gemma = Siglip2Encoder.open(path, name="gemma", device="cpu")
    close(gemma.encode_texts(TEXTS), flexible.encode_texts(TEXTS), 0)


def test_a_folder_that_says_so_pads_on_the_left_or_keeps_case(
    altered: Alter, flexible_folder: Path, fixed_folder: Path
) -> None:
    path = altered(flexible_folder, "tokenizer_config.json", lambda stated: stated.update(padding_side="left"))
    left = Siglip2Encoder.open(path, name="left", device="cpu")
    assert [left.wording.sequence(text) for text in TEXTS] == second_ids(TEXTS, side="left")
    path = altered(fixed_folder, "tokenizer_config.json", lambda stated: stated.update(do_lower_case=False))
    assert SiglipEncoder.open(path, name="cased", device="cpu").wording.sequence("DOG!")[1] == 2  # <unk>


def test_tokens_are_found_where_tokenizer_config_is_missing(
    altered: Alter, fixed_folder: Path, flexible_folder: Path, fixed: SiglipEncoder, flexible: Siglip2Encoder
) -> None:
    path = altered(fixed_folder, "config.json", lambda stated: None)
    (path / "tokenizer_config.json").unlink()
    assert SiglipEncoder.open(path, name="bare", device="cpu").wording.facts == fixed.wording.facts
    path = altered(flexible_folder, "config.json", lambda stated: None)
    (path / "tokenizer_config.json").unlink()
    assert Siglip2Encoder.open(path, name="bare", device="cpu").wording.facts == flexible.wording.facts


@pytest.mark.parametrize(
    ("vision", "text"),
    [
        ({"num_hidden_layers": 3, "patch_size": 5, "intermediate_size": 20}, {}),
        ({"image_size": 33, "patch_size": 11, "num_attention_heads": 6}, {"num_hidden_layers": 1}),
        ({"hidden_size": 32, "layer_norm_eps": 1e-3}, {"projection_size": 32, "max_position_embeddings": 7}),
        ({"hidden_act": "gelu"}, {"hidden_act": "quick_gelu", "num_attention_heads": 4}),
    ],
    ids=["vision tower", "picture", "widths and length", "activation"],
)
def test_every_size_is_read_from_the_configuration(
    vision: dict[str, Any], text: dict[str, Any], tmp_path: Path
) -> None:
    save_fixed(tmp_path, vision=vision, text=text)
    encoder = SiglipEncoder.open(tmp_path, name="other", device="cpu")
    network = SiglipModel.from_pretrained(tmp_path)
    inputs = SiglipImageProcessorPil.from_pretrained(tmp_path)(pictures(), return_tensors="pt")
    images = encoder.encode_images(prepared(encoder, pictures()))
    close(images[:, 0], transformers_images(network, inputs), SIMILARITY)
    sequences = [encoder.wording.sequence(one) for one in TEXTS]
    assert {len(one) for one in sequences} == {text.get("max_position_embeddings", LENGTH)}
    close(encoder.encode_texts(TEXTS), transformers_texts(network, sequences), SIMILARITY)


@pytest.mark.parametrize(
    ("vision", "most"),
    [({"patch_size": 5, "num_patches": 16, "num_hidden_layers": 1}, 16), ({"num_patches": 4}, 300)],
    ids=["patches", "more patches than positions, and than a byte can count"],
)
def test_every_number_of_patches_is_read(vision: dict[str, Any], most: int, tmp_path: Path) -> None:
    save_flexible(tmp_path, vision=vision, most=most)
    encoder = Siglip2Encoder.open(tmp_path, name="other", device="cpu")
    some = [*pictures(), Image.new("RGB", (3000, 9), (9, 99, 199))]
    inputs = Siglip2ImageProcessorPil.from_pretrained(tmp_path)(some, return_tensors="pt")
    packed = prepared(encoder, some)
    assert unpacked(packed)[0].tolist() == inputs["spatial_shapes"].tolist()
    want = transformers_images(Siglip2Model.from_pretrained(tmp_path), inputs)
    close(encoder.encode_images(packed)[:, 0], want, SIMILARITY)


def test_prepared_pixels_are_those_of_transformers(fixed: SiglipEncoder, fixed_folder: Path) -> None:
    processor = SiglipImageProcessorPil.from_pretrained(fixed_folder, do_rescale=False, do_normalize=False)
    want = np.stack(processor(pictures())["pixel_values"]).transpose(0, 2, 3, 1)
    got = prepared(fixed, pictures())
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, want)


def test_packed_patches_are_those_of_transformers(flexible: Siglip2Encoder, flexible_folder: Path) -> None:
    processor = Siglip2ImageProcessorPil.from_pretrained(flexible_folder, do_rescale=False, do_normalize=False)
    want = processor(pictures())
    packed = prepared(flexible, pictures())
    assert packed.dtype == np.uint8
    assert packed.shape == (len(SHAPES), 1 + 12, 8 * 8 * 3)
    grids, patches = unpacked(packed)
    np.testing.assert_array_equal(grids, np.stack(want["spatial_shapes"]))
    np.testing.assert_array_equal(patches, np.stack(want["pixel_values"]))


def test_every_picture_gets_the_grid_that_transformers_gives_it(flexible: Siglip2Encoder) -> None:
    patching = flexible.preparation
    for width, height in np.random.default_rng(3).integers(1, 3000, (200, 2)).tolist():
        rows, columns = patching.grid(width, height)
        assert (rows * 8, columns * 8) == get_image_size_for_max_num_patches(height, width, 8, 12)


def test_without_preprocessor_config_siglip_is_bicubic_and_siglip_2_bilinear(
    altered: Alter, fixed_folder: Path, flexible_folder: Path, fixed: SiglipEncoder
) -> None:
    path = altered(fixed_folder, "config.json", lambda stated: None)
    (path / "preprocessor_config.json").unlink()
    silent = SiglipEncoder.open(path, name="silent", device="cpu")
    assert silent.preparation == fixed.preparation
    assert silent.preparation.resample == 3
    second_tokenizer().save_pretrained(path)
    assert SiglipEncoder.open(path, name="silent", device="cpu").preparation.resample == 2
    path = altered(flexible_folder, "config.json", lambda stated: None)
    (path / "preprocessor_config.json").unlink()
    patching = Siglip2Encoder.open(path, name="silent", device="cpu").preparation
    assert (patching.resample, patching.patch, patching.most) == (2, 8, 9)


def test_a_preprocessing_that_is_not_done_here_is_an_error(
    altered: Alter, fixed_folder: Path, flexible_folder: Path
) -> None:
    path = altered(fixed_folder, "preprocessor_config.json", lambda stated: stated.update(size={"shortest_edge": 24}))
    with pytest.raises(BadCheckpoint, match="the network reads squares of 24"):
        SiglipEncoder.open(path, name="bad", device="cpu")
    path = altered(flexible_folder, "preprocessor_config.json", lambda stated: stated.update(patch_size=16))
    with pytest.raises(BadCheckpoint, match="patches"):
        Siglip2Encoder.open(path, name="bad", device="cpu")
    path = altered(flexible_folder, "preprocessor_config.json", lambda stated: stated.update(do_rescale=False))
    with pytest.raises(BadCheckpoint, match="do_rescale"):
        Siglip2Encoder.open(path, name="bad", device="cpu")


def test_no_result_depends_on_what_shares_the_batch(either: SiglipEncoder | Siglip2Encoder) -> None:
    pixels = prepared(either, pictures() * 3)
    close(either.encode_images(pixels), np.concatenate([either.encode_images(one[None]) for one in pixels]), 1e-6)
    close(either.encode_texts(TEXTS), np.concatenate([either.encode_texts([text]) for text in TEXTS]), 1e-6)


def test_a_long_text_is_cut_and_keeps_its_end_token(either: SiglipEncoder | Siglip2Encoder) -> None:
    close(either.encode_texts(["a dog" * 40]), either.encode_texts(["a dog" * 50]), 0)
    assert len(either.wording.sequence("a dog" * 40)) == LENGTH
    assert either.wording.sequence("a dog" * 40)[-1] == either.wording.last


def test_nothing_in_gives_nothing_out(either: SiglipEncoder | Siglip2Encoder) -> None:
    assert either.encode_images(prepared(either, pictures())[:0]).shape == (0, 1, 24)
    assert either.encode_texts([]).shape == (0, 24)


def test_unknown_words_are_named_as_written_once_and_in_order(either: SiglipEncoder | Siglip2Encoder) -> None:
    assert either.unknown_words("a (Dürer) and a dog, dürer Ñandú dogs!") == ["Dürer", "Ñandú"]
    assert either.unknown_words("A red dog.") == []
    assert either.unknown_words("") == []


def test_no_buffer_is_left_without_content(either: SiglipEncoder | Siglip2Encoder) -> None:
    network = either.network
    assert not any(tensor.is_meta for tensor in (*network.buffers(), *network.parameters()))
    assert network.text_model.embeddings.position_ids.tolist() == [list(range(LENGTH))]


def test_weights_that_do_not_fit_are_named(altered: Alter, fixed_folder: Path, flexible_folder: Path) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        del state["logit_bias"]
        state["text_model.more"] = torch.zeros(2)
        state["text_model.head.weight"] = torch.zeros(3, 16)

    for kind, folder in ((SiglipEncoder, fixed_folder), (Siglip2Encoder, flexible_folder)):
        with pytest.raises(BadWeights) as caught:
            kind.open(altered(folder, "model.safetensors", spoil), name="bad", device="cpu")
        assert caught.value.missing == ("logit_bias",)
        assert caught.value.unexpected == ("text_model.more",)
        assert caught.value.mismatched == ("text_model.head.weight [3, 16] instead of [24, 16]",)


def test_a_folder_with_spiece_model_alone_says_what_to_do(altered: Alter, fixed_folder: Path) -> None:
    path = altered(fixed_folder, "config.json", lambda stated: None)
    (path / "tokenizer.json").rename(path / "spiece.model")
    with pytest.raises(BadCheckpoint, match=r"spiece\.model.*put the tokenizer\.json"):
        SiglipEncoder.open(path, name="bad", device="cpu")


def test_towers_that_do_not_meet_are_an_error(altered: Alter, fixed_folder: Path) -> None:
    path = altered(fixed_folder, "config.json", lambda stated: stated["text_config"].update(projection_size=16))
    with pytest.raises(BadCheckpoint, match="different lengths"):
        SiglipEncoder.open(path, name="bad", device="cpu")


def test_opening_says_nothing_on_the_side(fixed_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    SiglipEncoder.open(fixed_folder, name="tiny", device="cpu")
    assert capfd.readouterr() == ("", "")


def test_the_fingerprint_follows_weights_and_preprocessing_and_not_the_folder(
    altered: Alter, flexible_folder: Path, flexible: Siglip2Encoder
) -> None:
    def fingerprint(file: str, change: Callable[[Any], Any]) -> str:
        return Siglip2Encoder.open(altered(flexible_folder, file, change), name="other", device="cpu").fingerprint

    def double(state: dict[str, torch.Tensor]) -> None:
        state["text_model.head.weight"] *= 2

    assert fingerprint("config.json", lambda stated: None) == flexible.fingerprint
    others = [
        fingerprint("model.safetensors", double),
        fingerprint("preprocessor_config.json", lambda stated: stated.update(resample=3)),
        fingerprint("preprocessor_config.json", lambda stated: stated.update(max_num_patches=20)),
        fingerprint("tokenizer_config.json", lambda stated: stated.update(pad_token="<mask>")),
        fingerprint("tokenizer_config.json", lambda stated: stated.update(padding_side="left")),
        fingerprint("tokenizer.json", lambda content: content["model"]["merges"].pop()),
    ]
    assert len({flexible.fingerprint, *others}) == 7


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_lower_precision_calculates_in_it_and_answers_in_float32(
    precision: str, either: SiglipEncoder | Siglip2Encoder
) -> None:
    lower = type(either).open(either.folder, name="tiny", device="cpu", precision=precision)
    assert {str(weight.dtype) for weight in lower.network.parameters()} == {f"torch.{precision}"}
    pixels = prepared(either, pictures())
    for got, want in (
        (lower.encode_images(pixels)[:, 0], either.encode_images(pixels)[:, 0]),
        (lower.encode_texts(TEXTS), either.encode_texts(TEXTS)),
    ):
        assert got.dtype == np.float32
        close(np.linalg.norm(got, axis=1), np.ones(len(got)), 1e-6)
        assert 0.99 < (got * want).sum(axis=1).min() < 1
    assert lower.fingerprint != either.fingerprint


@pytest.mark.parametrize("kept", ["fixed_folder", "flexible_folder"])
def test_a_gallery_is_embedded_by_it_and_reranked_by_another_model(
    kept: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(kept)
    write_gallery(tmp_path / "cards", scenes=8, seed=5)
    library = Sightline(settings=Settings(home=tmp_path / "home", offline=True))
    library.index(tmp_path / "cards", model=str(folder))
    page = library.search("cards", "a red boat at night", matcher="postcards", candidates=8)
    library.close()
    assert (page.model, page.matcher, len(page.hits)) == (str(folder), "postcards", 8)
    assert sorted(hit.itc_rank or 0 for hit in page.hits) == list(range(1, 9))
    logits = [hit.itm_logit or 0 for hit in page.hits]
    assert logits == sorted(logits, reverse=True)  # the similarity is no part of the score: it is another model's
