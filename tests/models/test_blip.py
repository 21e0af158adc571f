"""BLIP against the golden numbers of the authors' own classes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from retrieval.models.blip import BlipAnswerer, BlipCaptioner, BlipRetrieval
from retrieval.types import UInt8

SIMILARITY = 2e-6
LOGIT = 5e-6
EVERY_PAIR = np.array([(image, text) for image in range(4) for text in range(8)], dtype=np.int64)


def close(got: Any, want: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=tolerance)


def pictures(count: int, *, side: int = 48) -> UInt8:
    return np.random.default_rng(7).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture
def model(retrieval_set: Any) -> BlipRetrieval:
    return BlipRetrieval.open(retrieval_set.folder, name="golden", device="cpu")


@pytest.fixture
def captioner(caption_set: Any) -> BlipCaptioner:
    return BlipCaptioner.open(caption_set.folder, name="golden", device="cpu")


@pytest.fixture
def answerer(vqa_set: Any) -> BlipAnswerer:
    return BlipAnswerer.open(vqa_set.folder, name="golden", device="cpu")


def test_image_tokens_and_embeddings_are_the_authors(model: BlipRetrieval, retrieval_set: Any) -> None:
    tokens = model.look(torch.tensor(retrieval_set.inputs["pixel_values"]))
    close(tokens, retrieval_set.outputs["image_embeds"], SIMILARITY)
    close(model.project_images(tokens)[:, 0], retrieval_set.outputs["image_feat"], SIMILARITY)


def test_text_embeddings_are_the_authors_although_nothing_is_padded_to_35(
    model: BlipRetrieval, retrieval_set: Any
) -> None:
    close(model.encode_texts(retrieval_set.config["texts"]), retrieval_set.outputs["text_feat"], SIMILARITY)


def test_itc_similarities_are_the_authors(model: BlipRetrieval, retrieval_set: Any) -> None:
    images = model.project_images(model.look(torch.tensor(retrieval_set.inputs["pixel_values"])))[:, 0]
    texts = model.encode_texts(retrieval_set.config["texts"])
    close(images.numpy() @ texts.T, retrieval_set.outputs["sim_itc"], SIMILARITY)


def test_match_logits_are_the_authors_with_enc_and_not_cls_in_front(model: BlipRetrieval, retrieval_set: Any) -> None:
    logits = model.match(retrieval_set.outputs["image_embeds"], retrieval_set.config["texts"], EVERY_PAIR)
    close(logits.reshape(4, 8, 2), retrieval_set.outputs["itm_logits"], LOGIT)
    assert np.abs(logits.reshape(4, 8, 2) - retrieval_set.outputs["itm_logits_cls_token"]).max() > 0.1


def test_prepared_pictures_go_the_same_way_as_normalised_ones(model: BlipRetrieval) -> None:
    pixels = pictures(3)
    embeddings = model.encode_images(pixels)
    assert embeddings.shape == (3, 1, model.dimension)
    assert embeddings.dtype == np.float32
    close(embeddings, np.asarray(model.project_images(torch.tensor(model.image_tokens(pixels)))), 1e-6)
    close(np.linalg.norm(embeddings[:, 0], axis=1), np.ones(3), 1e-6)


def test_no_result_depends_on_what_shares_the_batch(model: BlipRetrieval, retrieval_set: Any) -> None:
    texts = retrieval_set.config["texts"]
    tokens = model.image_tokens(pictures(10))
    pairs = np.array([(image, text) for image in range(10) for text in range(8)], dtype=np.int64)
    together = model.match(tokens, texts, pairs)
    alone = [model.match(tokens[i : i + 1], [texts[t]], np.zeros((1, 2), dtype=np.int64))[0] for i, t in pairs[::5]]
    close(together[::5], np.array(alone), LOGIT)  # the logits are near 2: 1e-6 is four ulp
    close(model.encode_texts(texts), np.concatenate([model.encode_texts([text]) for text in texts]), 1e-6)
    one_by_one = [model.encode_images(picture[None])[0] for picture in pictures(20)]
    close(model.encode_images(pictures(20)), np.array(one_by_one), 1e-6)


def test_nothing_in_gives_nothing_out(model: BlipRetrieval) -> None:
    tokens = model.image_tokens(pictures(0))
    assert tokens.shape == (0, 10, 56)
    assert model.encode_images(pictures(0)).shape == (0, 1, 24)
    assert model.encode_texts([]).shape == (0, 24)
    assert model.match(tokens, [], np.zeros((0, 2), dtype=np.int64)).shape == (0, 2)


def test_a_long_text_is_cut_to_35_tokens(model: BlipRetrieval) -> None:
    close(model.encode_texts(["dog " * 33]), model.encode_texts(["dog " * 40]), 0)


def test_threads_that_share_a_model_get_what_one_gets(
    model: BlipRetrieval, captioner: BlipCaptioner, answerer: BlipAnswerer, retrieval_set: Any
) -> None:
    texts = retrieval_set.config["texts"]

    def work(_: int) -> tuple[NDArray[np.float32], list[str], list[str]]:
        return (
            model.encode_texts(texts),
            captioner.caption(pictures(2)),
            answerer.answer(pictures(2), "what color is the dog?"),
        )

    want = work(0)
    with ThreadPoolExecutor(4) as pool:
        for embeddings, captions, answers in pool.map(work, range(8)):
            close(embeddings, want[0], 1e-6)
            assert captions == want[1]
            assert answers == want[2]


def test_unknown_words_are_named_as_written_once_and_in_order(model: BlipRetrieval) -> None:
    assert model.unknown_words("Zebra and a red-Xylophone; ZEBRA, (dogs)!") == ["Zebra", "Xylophone"]
    assert model.unknown_words("a red dog.") == []
    assert model.unknown_words("") == []


def test_the_fingerprint_follows_the_weights_and_not_the_folder(
    model: BlipRetrieval, altered: Callable[..., Path]
) -> None:
    def double(state: dict[str, torch.Tensor]) -> None:
        state["vision_proj.weight"] *= 2

    changed = BlipRetrieval.open(altered(weights=double), name="golden", device="cpu")
    assert changed.fingerprint != model.fingerprint
    assert BlipRetrieval.open(model.folder, name="other", device="cpu").fingerprint == model.fingerprint


def test_captions_start_from_dec_and_the_prompt_without_sep(captioner: BlipCaptioner, caption_set: Any) -> None:
    assert captioner.prompt.tolist() == caption_set.inputs["prompt_ids"][:1].tolist()


def test_the_captioners_first_logits_are_the_authors(captioner: BlipCaptioner, caption_set: Any) -> None:
    tokens = captioner.look(torch.tensor(caption_set.inputs["pixel_values"]))
    close(tokens, caption_set.outputs["image_embeds"], SIMILARITY)
    with torch.inference_mode():
        decoder = captioner.network.text_decoder
        logits = decoder(input_ids=captioner.prompt.expand(3, -1), encoder_hidden_states=tokens).logits[:, -1]
    # 16 ulp of the largest logit: the authors' matrices were multiplied in another order.
    close(logits, caption_set.outputs["first_step_logits"], 1e-5)


def test_greedy_captions_are_the_authors(captioner: BlipCaptioner, caption_set: Any) -> None:
    captioner.network.text_decoder.generation_config.update(num_beams=1, max_length=caption_set.config["max_length"])
    captions = captioner.describe(captioner.look(torch.tensor(caption_set.inputs["pixel_values"])))
    assert captions == caption_set.config["generated_text"]["greedy"]


def test_a_caption_comes_without_its_prompt_and_says_nothing_on_the_side(
    captioner: BlipCaptioner, capfd: pytest.CaptureFixture[str]
) -> None:
    captions = captioner.caption(pictures(18))
    assert len(captions) == 18
    assert not any("picture of" in caption for caption in captions)
    assert captions[0] == captioner.caption(pictures(18)[:1])[0]
    assert capfd.readouterr() == ("", "")


def test_question_states_are_the_authors(answerer: BlipAnswerer, vqa_set: Any) -> None:
    tokens = answerer.look(torch.tensor(vqa_set.inputs["pixel_values"]))
    ids, mask = (torch.tensor(vqa_set.inputs[name]) for name in ("question_ids", "question_mask"))
    close(answerer.ask(tokens, ids, mask), vqa_set.outputs["question_states"], SIMILARITY)


def test_the_answerers_first_logits_are_the_authors_where_padding_is_read(answerer: BlipAnswerer, vqa_set: Any) -> None:
    states = torch.tensor(vqa_set.outputs["question_states"])
    start = torch.full((3, 1), answerer.vocabulary.dec)
    with torch.inference_mode():
        logits = answerer.network.text_decoder(input_ids=start, encoder_hidden_states=states).logits[:, -1]
    close(logits, vqa_set.outputs["first_token_logits_unmasked_question"], LOGIT)


def test_one_question_gets_an_answer_for_each_picture(
    answerer: BlipAnswerer, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = answerer.answer(pictures(18), "What color is the dog?")
    assert len(answers) == 18
    assert answers[17] == answerer.answer(pictures(18)[17:], "What color is the dog?")[0]
    assert capfd.readouterr() == ("", "")


def test_the_answerer_reads_the_same_ids_as_the_authors(answerer: BlipAnswerer, vqa_set: Any) -> None:
    vocabulary = answerer.vocabulary
    rows = [vocabulary.sequence(text, first=vocabulary.enc, length=35) for text in vqa_set.config["questions"]]
    wanted = zip(vqa_set.inputs["question_ids"], vqa_set.inputs["question_mask"], strict=True)
    assert rows == [ids[mask == 1].tolist() for ids, mask in wanted]
