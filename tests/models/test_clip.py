"""CLIP against transformers' own model, tokenizer and picture processor, on tiny random weights."""

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
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from api import Sightline
from api.settings import Settings
from indexer.uri import from_uri
from retrieval.errors import BadCheckpoint, BadWeights, FeaturesMissing, RoleMissing
from retrieval.models.checkpoints import CHECKPOINTS
from retrieval.models.clip import ClipEncoder
from retrieval.models.load import load_matcher
from retrieval.training.world.galleries import write_gallery
from retrieval.types import UInt8

SIMILARITY = 2e-6
TEXTS = [
    "a red dog",
    "A photo of 2 Cats, on a mat!",
    "",
    "dog",
    "the dog's   bowl\nand a very long text that does not fit into the tower " * 3,
    "dog <|endoftext|> cat",
]
SHAPES = [(40, 24), (24, 40), (23, 23), (91, 57), (9, 30), (300, 31), (24, 24), (25, 97)]

Alter = Callable[..., Path]


def close(got: Any, want: Any, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=tolerance)


def pictures() -> list[Image.Image]:
    """Noise, each around a colour of its own."""
    numbers = np.random.default_rng(7)
    colours = numbers.integers(0, 200, (len(SHAPES), 1, 1, 3))
    noise = [numbers.integers(0, 56, (height, width, 3)) for width, height in SHAPES]
    return [Image.fromarray((one + colour).astype(np.uint8)) for one, colour in zip(noise, colours, strict=True)]


def prepared(encoder: ClipEncoder, some: list[Image.Image]) -> UInt8:
    return np.stack([encoder.prepare(one) for one in some])


def tokenizer() -> CLIPTokenizer:
    characters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'<>|"]
    pieces = [*characters, *(f"{one}</w>" for one in characters), "do", "dog</w>", "ca", "cat</w>"]
    tokens = [*pieces, "<|startoftext|>", "<|endoftext|>"]
    merges = [("d", "o"), ("do", "g</w>"), ("c", "a"), ("ca", "t</w>")]
    return CLIPTokenizer(vocab={token: row for row, token in enumerate(tokens)}, merges=merges)


def config(*, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, d: int = 12) -> CLIPConfig:
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    tokens = tokenizer()
    words = {"vocab_size": len(tokens), "max_position_embeddings": 20, "eos_token_id": tokens.eos_token_id}
    return CLIPConfig(
        text_config={**layers, "hidden_size": 16, **words, **(text or {})},
        vision_config={**layers, "hidden_size": 24, "image_size": 24, "patch_size": 8, **(vision or {})},
        projection_dim=d,
    )


def save(folder: Path, made: CLIPConfig) -> Path:
    """Save a model of random weights, every one of which matters."""
    torch.manual_seed(5)
    network = CLIPModel(made)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn_like(weight) * 0.5)
    network.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    side = made.vision_config.image_size
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=side).save_pretrained(folder)
    return folder


def transformers_texts(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    tokens = CLIPTokenizer.from_pretrained(folder)
    length = json.loads((folder / "config.json").read_text())["text_config"]["max_position_embeddings"]
    inputs = tokens(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    with torch.inference_mode():
        found = CLIPModel.from_pretrained(folder).get_text_features(**inputs).pooler_output
    return torch.nn.functional.normalize(found, dim=-1).numpy()


def transformers_images(folder: Path, some: list[Image.Image]) -> NDArray[np.float32]:
    values = CLIPImageProcessorPil.from_pretrained(folder)(some, return_tensors="pt")
    with torch.inference_mode():
        found = CLIPModel.from_pretrained(folder).get_image_features(**values).pooler_output
    return torch.nn.functional.normalize(found, dim=-1).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("clip"), config())


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ClipEncoder:
    return ClipEncoder.open(folder, name="tiny", device="cpu")


@pytest.fixture
def altered(folder: Path, tmp_path: Path) -> Alter:
    """Copy the folder with one of its files changed: the content goes through a function."""

    def alter(file: str, change: Callable[[Any], Any]) -> Path:
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


def test_embeddings_are_those_of_transformers(encoder: ClipEncoder, folder: Path) -> None:
    images = encoder.encode_images(prepared(encoder, pictures()))
    assert images.shape == (len(SHAPES), encoder.vectors, encoder.dimension)
    assert images.dtype == np.float32
    close(images[:, 0], transformers_images(folder, pictures()), SIMILARITY)
    close(encoder.encode_texts(TEXTS), transformers_texts(folder, TEXTS), SIMILARITY)
    assert np.ptp(encoder.encode_texts(TEXTS), axis=0).max() > 0.03
    assert np.ptp(images[:, 0], axis=0).max() > 0.03


@pytest.mark.parametrize(
    "made",
    [
        config(text={"num_hidden_layers": 1, "hidden_size": 24, "num_attention_heads": 4}, d=8),
        config(vision={"num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 20, "patch_size": 5}),
        config(vision={"image_size": 33, "patch_size": 11, "num_attention_heads": 6, "layer_norm_eps": 1e-3}),
        config(text={"hidden_act": "gelu", "max_position_embeddings": 9}, vision={"hidden_act": "gelu"}),
        config(text={"eos_token_id": 2}),
    ],
    ids=["text tower", "vision tower", "picture", "activation and length", "end token of old folders"],
)
def test_every_size_is_read_from_the_configuration(made: CLIPConfig, tmp_path: Path) -> None:
    save(tmp_path, made)
    encoder = ClipEncoder.open(tmp_path, name="other", device="cpu")
    images = encoder.encode_images(prepared(encoder, pictures()))
    close(images[:, 0], transformers_images(tmp_path, pictures()), SIMILARITY)
    close(encoder.encode_texts(TEXTS), transformers_texts(tmp_path, TEXTS), SIMILARITY)


def test_the_tokenizer_of_old_folders_which_does_not_say_its_kind_is_read(altered: Alter, encoder: ClipEncoder) -> None:
    def age(content: dict[str, Any]) -> None:
        del content["model"]["type"]
        content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]

    path = altered("tokenizer.json", age)
    close(ClipEncoder.open(path, name="old", device="cpu").encode_texts(TEXTS), encoder.encode_texts(TEXTS), 0)


def test_sizes_that_the_first_folders_state_in_another_place_are_found(altered: Alter, encoder: ClipEncoder) -> None:
    def move(stated: dict[str, Any]) -> None:
        for side in ("text_config", "vision_config"):
            stated[f"{side}_dict"] = stated[side] | {"eos_token_id": 2}
            stated[side] = {"hidden_size": 512, "num_hidden_layers": 12}

    close(
        ClipEncoder.open(altered("config.json", move), name="old", device="cpu").encode_texts(TEXTS),
        encoder.encode_texts(TEXTS),
        0,
    )


def test_the_end_of_a_text_is_the_tokenizers_whatever_the_configuration_says(
    altered: Alter, encoder: ClipEncoder
) -> None:
    path = altered("config.json", lambda stated: stated["text_config"].update(eos_token_id=7))
    close(ClipEncoder.open(path, name="wrong", device="cpu").encode_texts(TEXTS), encoder.encode_texts(TEXTS), 0)


def test_prepared_pixels_are_those_of_transformers(encoder: ClipEncoder, folder: Path) -> None:
    processor = CLIPImageProcessorPil.from_pretrained(folder, do_rescale=False, do_normalize=False)
    want = np.stack(processor(pictures())["pixel_values"]).transpose(0, 2, 3, 1)
    got = prepared(encoder, pictures())
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "stated",
    [
        {"size": 24, "crop_size": 24},
        {"size": {"shortest_edge": 30}, "crop_size": {"height": 24, "width": 24}, "resample": 2},
        {"size": {"height": 28, "width": 26}, "crop_size": 24},
        {"size": {"height": 24, "width": 24}, "do_center_crop": False},
        {"size": {"shortest_edge": 19}, "crop_size": 24},
    ],
    ids=["numbers", "larger and bilinear", "squeezed and cropped", "squeezed", "smaller than the crop"],
)
def test_every_way_to_state_a_preprocessing_is_read(stated: dict[str, Any], altered: Alter) -> None:
    path = altered("preprocessor_config.json", lambda content: content.update(stated))
    encoder = ClipEncoder.open(path, name="other", device="cpu")
    processor = CLIPImageProcessorPil.from_pretrained(path, do_rescale=False, do_normalize=False)
    want = np.stack(processor(pictures())["pixel_values"]).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(prepared(encoder, pictures()), want)


def test_a_folder_that_is_silent_is_prepared_as_the_authors_did(altered: Alter, encoder: ClipEncoder) -> None:
    path = altered("preprocessor_config.json", lambda content: None)
    (path / "preprocessor_config.json").unlink()
    silent = ClipEncoder.open(path, name="silent", device="cpu")
    assert silent.preparation == encoder.preparation
    assert silent.fingerprint == encoder.fingerprint


def test_a_preprocessing_inside_processor_config_is_read(altered: Alter, encoder: ClipEncoder) -> None:
    path = altered("preprocessor_config.json", lambda content: content.update(resample=0))
    inside = json.loads((path / "preprocessor_config.json").read_text())
    (path / "preprocessor_config.json").unlink()
    (path / "processor_config.json").write_text(json.dumps({"image_processor": inside}))
    assert ClipEncoder.open(path, name="new", device="cpu").preparation.resample == 0


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"crop_size": 16}, r"made \(16, 16\), but the network reads squares of 24"),
        ({"do_center_crop": False}, "reads squares of 24"),
        ({"do_normalize": False}, "without do_normalize"),
        ({"rescale_factor": 1 / 127.5}, "1/255"),
        ({"image_mean": [0.5]}, "preprocessor_config.json cannot be read"),
        ({"size": {"longest_edge": 24}}, "height"),
    ],
)
def test_a_preprocessing_that_is_not_done_here_is_an_error(stated: dict[str, Any], reason: str, altered: Alter) -> None:
    path = altered("preprocessor_config.json", lambda content: content.update(stated))
    with pytest.raises(BadCheckpoint, match=reason):
        ClipEncoder.open(path, name="bad", device="cpu")


def test_a_strip_does_not_fill_the_memory(encoder: ClipEncoder) -> None:
    pixels = encoder.prepare(Image.linear_gradient("L").resize((60_000, 1)))
    assert pixels.shape == (24, 24, 3)
    assert 120 < pixels.mean() < 136  # the middle of the gradient


def test_pictures_of_other_modes_are_read_as_rgb(encoder: ClipEncoder) -> None:
    grey = pictures()[0].convert("L")
    np.testing.assert_array_equal(encoder.prepare(grey), encoder.prepare(grey.convert("RGB")))


def test_no_result_depends_on_what_shares_the_batch(encoder: ClipEncoder) -> None:
    pixels = prepared(encoder, pictures() * 3)
    close(encoder.encode_images(pixels), np.concatenate([encoder.encode_images(one[None]) for one in pixels]), 1e-6)
    close(encoder.encode_texts(TEXTS), np.concatenate([encoder.encode_texts([text]) for text in TEXTS]), 1e-6)


def test_a_long_text_is_cut_and_keeps_its_end_token(encoder: ClipEncoder) -> None:
    close(encoder.encode_texts(["dog " * 18]), encoder.encode_texts(["dog " * 40]), 0)
    assert len(encoder.wording.sequence("dog " * 40)) == 20
    assert encoder.wording.sequence("dog " * 40)[-1] == encoder.wording.last


def test_nothing_in_gives_nothing_out(encoder: ClipEncoder) -> None:
    assert encoder.encode_images(np.zeros((0, 24, 24, 3), dtype=np.uint8)).shape == (0, 1, 12)
    assert encoder.encode_texts([]).shape == (0, 12)


def test_unknown_words_are_named_as_written_once_and_in_order(encoder: ClipEncoder) -> None:
    assert encoder.unknown_words("A (Dürer) and a dog; dürer, Ñandú") == ["Dürer", "Ñandú"]
    assert encoder.unknown_words("a red dog.") == []
    assert encoder.unknown_words("") == []


def test_no_buffer_is_left_without_content(encoder: ClipEncoder) -> None:
    network = encoder.network
    assert not any(tensor.is_meta for tensor in (*network.buffers(), *network.parameters()))
    assert network.text_model.embeddings.position_ids.tolist() == [list(range(20))]
    assert network.vision_model.embeddings.position_ids.tolist() == [list(range(10))]


def test_pickled_weights_with_the_position_ids_of_old_folders_are_read(altered: Alter, encoder: ClipEncoder) -> None:
    path = altered("config.json", lambda stated: None)
    state = load_file(path / "model.safetensors")
    state["text_model.embeddings.position_ids"] = torch.arange(20)[None]
    torch.save(state, path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    close(ClipEncoder.open(path, name="old", device="cpu").encode_texts(TEXTS), encoder.encode_texts(TEXTS), 0)


def test_weights_that_do_not_fit_are_named(altered: Alter) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        del state["text_projection.weight"]
        state["vision_model.more"] = torch.zeros(2)
        state["visual_projection.weight"] = torch.zeros(3, 24)

    with pytest.raises(BadWeights) as caught:
        ClipEncoder.open(altered("model.safetensors", spoil), name="bad", device="cpu")
    assert caught.value.missing == ("text_projection.weight",)
    assert caught.value.unexpected == ("vision_model.more",)
    assert caught.value.mismatched == ("visual_projection.weight [3, 24] instead of [12, 24]",)


def test_a_configuration_or_a_vocabulary_that_does_not_fit_is_an_error(altered: Alter) -> None:
    path = altered("config.json", lambda stated: stated["text_config"].update(num_attention_heads=3))
    with pytest.raises(BadCheckpoint, match=r"config\.json is no CLIPConfig"):
        ClipEncoder.open(path, name="bad", device="cpu")
    path = altered("config.json", lambda stated: stated["text_config"].update(vocab_size=50))
    with pytest.raises(BadCheckpoint, match="the embedding only 50 rows"):
        ClipEncoder.open(path, name="bad", device="cpu")
    path = altered("tokenizer_config.json", lambda stated: stated.update(eos_token="<end>"))
    with pytest.raises(BadCheckpoint, match="lacks <end>"):
        ClipEncoder.open(path, name="bad", device="cpu")


def test_the_fingerprint_follows_weights_and_preprocessing_and_not_the_folder(
    altered: Alter, encoder: ClipEncoder
) -> None:
    def fingerprint(file: str, change: Callable[[Any], Any]) -> str:
        return ClipEncoder.open(altered(file, change), name="other", device="cpu").fingerprint

    def double(state: dict[str, torch.Tensor]) -> None:
        state["visual_projection.weight"] *= 2

    def grow(content: dict[str, Any]) -> None:
        content["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}

    assert fingerprint("config.json", lambda stated: None) == encoder.fingerprint
    assert fingerprint("tokenizer.json", grow) == encoder.fingerprint
    others = [
        fingerprint("model.safetensors", double),
        fingerprint("preprocessor_config.json", lambda stated: stated.update(resample=2)),
        fingerprint("preprocessor_config.json", lambda stated: stated.update(image_std=[0.5, 0.5, 0.5])),
        fingerprint("config.json", lambda stated: stated["text_config"].update(hidden_act="gelu")),
        fingerprint("config.json", lambda stated: stated["vision_config"].update(num_attention_heads=4)),
        fingerprint("tokenizer.json", lambda content: content["model"]["merges"].pop()),
    ]
    assert len({encoder.fingerprint, *others}) == 7


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_lower_precision_calculates_in_it_and_answers_in_float32(
    precision: str, folder: Path, encoder: ClipEncoder
) -> None:
    lower = ClipEncoder.open(folder, name="tiny", device="cpu", precision=precision)
    assert {str(weight.dtype) for weight in lower.network.parameters()} == {f"torch.{precision}"}
    pixels = prepared(encoder, pictures())
    for got, want in (
        (lower.encode_images(pixels)[:, 0], encoder.encode_images(pixels)[:, 0]),
        (lower.encode_texts(TEXTS), encoder.encode_texts(TEXTS)),
    ):
        assert got.dtype == np.float32
        close(np.linalg.norm(got, axis=1), np.ones(len(got)), 1e-6)
        assert 0.99 < (got * want).sum(axis=1).min() < 1
    assert lower.fingerprint != encoder.fingerprint


def test_opening_says_nothing_on_the_side(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ClipEncoder.open(folder, name="tiny", device="cpu")
    assert capfd.readouterr() == ("", "")


def test_features_before_the_projection_are_the_towers_own(encoder: ClipEncoder, folder: Path) -> None:
    pixels, reference = prepared(encoder, pictures()), CLIPModel.from_pretrained(folder)
    plain = {"projected": False, "every_token": False}
    with torch.inference_mode():
        seen = reference.visual_projection(torch.tensor(np.array(encoder.image_features(pixels, **plain))[:, 0]))
        read = reference.text_projection(torch.tensor(np.array(encoder.text_features(TEXTS, **plain))))
    close(torch.nn.functional.normalize(seen, dim=-1), encoder.encode_images(pixels)[:, 0], SIMILARITY)
    close(torch.nn.functional.normalize(read, dim=-1), encoder.encode_texts(TEXTS), SIMILARITY)
    close(encoder.image_features(pixels, projected=True, every_token=False), encoder.encode_images(pixels), 0)
    close(encoder.text_features(TEXTS, projected=True, every_token=False), encoder.encode_texts(TEXTS), 0)


def test_features_that_two_towers_cannot_have_are_refused(encoder: ClipEncoder) -> None:
    pixels = prepared(encoder, pictures()[:1])
    with pytest.raises(FeaturesMissing, match="its towers never see each other"):
        encoder.pair_features(pixels, ["a dog"], every_token=False)
    with pytest.raises(FeaturesMissing, match="every token"):
        encoder.image_features(pixels, projected=True, every_token=True)


def test_a_gallery_of_clip_is_reranked_by_another_model(folder: Path, tmp_path: Path) -> None:
    write_gallery(tmp_path / "cards", scenes=8, seed=5)
    library = Sightline(settings=Settings(home=tmp_path / "home", offline=True))
    library.index(tmp_path / "cards", model=str(folder))
    page = library.search("cards", "a red boat at night", matcher="postcards", candidates=8)
    with pytest.raises(RoleMissing, match="has no captioner"):
        library.ask(page.hits[0].id, model=str(folder))
    library.close()
    assert (page.model, page.matcher) == (str(folder), "postcards")
    own = load_matcher(CHECKPOINTS["postcards"], device="cpu", offline=True)
    for hit in page.hits:
        picture = Image.open(from_uri(hit.uri)).convert("RGB")
        tokens = own.image_tokens(own.prepare(picture)[None])
        close(own.match(tokens, ["a red boat at night"], np.zeros((1, 2), dtype=np.int64))[0, 1], hit.itm_logit, 1e-5)
