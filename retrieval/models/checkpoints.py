"""The table of names: every model that Sightline knows, what it can do and where its weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import RoleMissing

Family = Literal["albef", "blip", "blip2", "instructblip", "alpro", "clip", "siglip", "siglip2", "hashing"]
Role = Literal["encoder", "matcher", "captioner", "answerer"]
Scoring = Literal["itm", "itm+itc", "itc", "itm-probability"]

BUNDLED = Path(__file__).parent / "bundled"
BSD, MIT, APACHE = "BSD-3-Clause", "MIT", "Apache-2.0"

RETRIEVAL: tuple[Role, ...] = ("encoder", "matcher")
GENERATION: tuple[Role, ...] = ("captioner", "answerer")
EVERYTHING: tuple[Role, ...] = (*RETRIEVAL, *GENERATION)


@dataclass(frozen=True)
class Released:
    """Files that the authors offer at their own addresses.

    `addresses` are the weights, a second one where the vision tower is a file of its own; `config` is what the
    weights cannot say; `vocabulary` is the Hugging Face id whose vocab.txt the texts are spelt with.
    """

    addresses: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: str = "google-bert/bert-base-uncased"


@dataclass(frozen=True)
class Checkpoint:
    """One row of the table, or the description of a model from outside it.

    `source` is a local folder or file, a Hugging Face id, files of the authors, or None where there are no weights.
    `roles` are what its own weights can do; `captioner` and `answerer` name the companions that do the rest (or the row
    itself). `image_size` is the side in pixels, `text_length` the most ids of a text. `protocol` says how the score of
    a candidate is made: "itm" by the match logit alone (ALBEF), "itm+itc" by the logit and the ITC cosine (BLIP,
    BLIP-2), "itm-probability" by the softmax of both logits (ALPRO), "itc" has no match logit. `download_bytes` is the
    size of the weights files where it is known, `memory_bytes` what loading it and reading one picture takes in
    float32. `not_run` says why a known checkpoint cannot be run here; such a row has no roles.
    """

    name: str
    family: Family
    source: Path | str | Released | None
    roles: tuple[Role, ...]
    image_size: int
    licence: str
    text_length: int = 35
    protocol: Scoring = "itm+itc"
    captioner: str | None = None
    answerer: str | None = None
    download_bytes: int | None = None
    memory_bytes: int | None = None
    not_run: str | None = None


_ALBEF = "https://storage.googleapis.com/sfr-pcl-data-research/ALBEF/"
_BLIP = "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/"
_LAVIS = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/"
_ALPRO = "https://storage.googleapis.com/sfr-vision-language-research/ALPRO/"

_Rest = Mapping[str, Any]

_GB = 1_000_000_000
# Measured by benchmarks/full_size.py: the largest resident size while a file is opened and one picture is read.
_BASE_MEMORY, _LARGE_MEMORY, _VIT_G_MEMORY = 2_200_000_000, 4_000_000_000, 9_800_000_000
# Parameters x 4 bytes; generating files hold the tied word embeddings twice.
_BLIP_BYTES: Mapping[str, int] = {"base": 895_000_000, "large": 1_785_000_000}

NLVR = "it compares two pictures with a sentence (NLVR), which nothing here asks"
ENTAILMENT = "it judges whether a picture entails a sentence (SNLI-VE), which nothing here asks"
ALBEF_ANSWERS = "ALBEF's answers are not built yet"
VIT_L = "the vision tower CLIP ViT-L of BLIP-2 is not built yet"
T5 = "BLIP-2 with a T5 is not built yet"
OTHER_FILE = "the authors' file holds no language model: take the row with the Hugging Face weights"
INSTRUCT = "InstructBLIP is not built yet"
VIDEO = "ALPRO, which reads videos, is not built yet"


def _bundled(name: str, family: Family, roles: tuple[Role, ...], **rest: Any) -> Checkpoint:
    return Checkpoint(
        name,
        family,
        BUNDLED / name,
        roles,
        image_size=144,
        licence=BSD,
        text_length=64,
        memory_bytes=_GB // 2,
        **rest,
    )


def _albef(name: str, file: str, image_size: int, **rest: Any) -> Checkpoint:
    stated = {"vit": _VIT_B | {"image_size": image_size}, "bert": _BERT | {"fusion_layer": 6}}
    defaults: _Rest = {"text_length": 30, "protocol": "itm", "memory_bytes": _BASE_MEMORY, **_BLIP_TALKS}
    roles = () if "not_run" in rest else RETRIEVAL
    source = Released((_ALBEF + file,), stated)
    return Checkpoint(name, "albef", source, roles, image_size=image_size, licence=BSD, **{**defaults, **rest})


def _albef_of_lavis(name: str, file: str, **rest: Any) -> Checkpoint:
    """LAVIS' re-write has no token types, ends a text with [SEP], and adds the cosine."""
    stated = {
        "vit": _VIT_B | {"image_size": 384},
        "bert": _BERT | {"fusion_layer": 6, "type_vocab_size": 0},
        "max_text_len": 35,
    }
    defaults: _Rest = {"memory_bytes": _BASE_MEMORY, **_BLIP_TALKS}
    roles = () if "not_run" in rest else RETRIEVAL
    source = Released((f"{_LAVIS}ALBEF/{file}",), stated)
    return Checkpoint(name, "albef", source, roles, image_size=384, licence=BSD, **{**defaults, **rest})


def _blip(name: str, address: str, image_size: int, roles: tuple[Role, ...], *, large: bool = False) -> Checkpoint:
    stated = {
        "vit": (_VIT_L if large else _VIT_B) | {"image_size": image_size},
        "bert": _BERT,
    }
    talks: _Rest = {role: name for role in GENERATION if role in roles}
    memory = _LARGE_MEMORY if large else _BASE_MEMORY
    known: _Rest = {**(_BLIP_TALKS if "encoder" in roles else {}), **talks}
    return Checkpoint(name, "blip", Released((address,), stated), roles, image_size, BSD, memory_bytes=memory, **known)


def _blip_of_hub(name: str, roles: tuple[Role, ...], size: str, download_bytes: int, **companions: Any) -> Checkpoint:
    memory = _LARGE_MEMORY if size == "large" else _BASE_MEMORY
    return Checkpoint(
        name,
        "blip",
        f"Salesforce/{name}",
        roles,
        image_size=384,
        licence=BSD,
        download_bytes=download_bytes,
        memory_bytes=memory,
        **companions,
    )


def _blip2_of_hub(name: str, roles: tuple[Role, ...], image_size: int, parameters: float, **rest: Any) -> Checkpoint:
    size = int(parameters * 4 * _GB)
    talks: _Rest = {"captioner": name, "answerer": name} if roles == GENERATION else _BLIP2_TALKS
    return Checkpoint(
        name,
        "blip2",
        f"Salesforce/{name}",
        roles,
        image_size=image_size,
        licence=MIT,
        download_bytes=size,
        memory_bytes=2 * size + _GB,
        **{**talks, **rest},
    )


def _stated_of_vit_g(image_size: int) -> _Rest:
    return {"vit": _VIT_G | {"image_size": image_size}, "qformer": _QFORMER}


def _towers(name: str, family: Family, source: str, image_size: int, licence: str, parameters: int) -> Checkpoint:
    """An encoder without a matcher: another model's reranks."""
    length = 77 if family == "clip" else 64
    size = parameters * 4
    return Checkpoint(
        name,
        family,
        source,
        ("encoder",),
        image_size=image_size,
        licence=licence,
        text_length=length,
        protocol="itc",
        download_bytes=size,
        memory_bytes=size + _GB,
        **_BLIP_TALKS,
    )


def _known(
    name: str, family: Family, source: str | Released | None, image_size: int, why: str, **rest: Any
) -> Checkpoint:
    """A checkpoint that cannot be run here, and why."""
    return Checkpoint(name, family, source, (), image_size=image_size, not_run=why, **{"licence": BSD, **rest})


def _instruct(name: str, source: str | Released, parameters: float) -> Checkpoint:
    rest: _Rest = {"licence": _licence(name, source), "text_length": 128, "protocol": "itc"}
    memory = int(parameters * 4 * _GB) + _GB
    return _known(name, "instructblip", source, 224, INSTRUCT, memory_bytes=memory, **rest)


def _licence(name: str, source: str | Released) -> str:
    return BSD if isinstance(source, Released) else "LLaMA" if "vicuna" in name else MIT


def _video(name: str, address: str, text_length: int) -> Checkpoint:
    rest: _Rest = {"text_length": text_length, "protocol": "itm-probability", "memory_bytes": 3 * _GB}
    return _known(name, "alpro", Released((address,)), 224, VIDEO, **rest)


_BLIP_TALKS: _Rest = {"captioner": "blip-image-captioning-base", "answerer": "blip-vqa-base"}
_BLIP2_TALKS: _Rest = {"captioner": "blip2-opt-2.7b", "answerer": "blip2-opt-2.7b"}
_POSTCARDS_TALK: _Rest = {"captioner": "postcards", "answerer": "postcards"}
_VIT_B = {"depth": 12, "num_heads": 12}
_VIT_L = {"depth": 24, "num_heads": 16}
_VIT_G = {"depth": 39, "num_heads": 16}
_BERT = {"num_hidden_layers": 12, "num_attention_heads": 12}
_QFORMER = _BERT | {"cross_attention_freq": 2}

# Billions of weights, the vision tower among them.
_INSTRUCT_BILLIONS = {"flan-t5-xl": 4.0, "flan-t5-xxl": 12.3, "vicuna-7b": 7.9, "vicuna-13b": 14.2}

_ROWS = (
    # Shipped with the project.
    _bundled("postcards", "blip", EVERYTHING, captioner="postcards", answerer="postcards"),
    _bundled("postcards-blip2", "blip2", EVERYTHING, captioner="postcards-blip2", answerer="postcards-blip2"),
    _bundled("postcards-albef", "albef", RETRIEVAL, protocol="itm", **_POSTCARDS_TALK),
    # BLIP, from the Hugging Face hub.
    *(
        _blip_of_hub(
            f"blip-itm-{size}-{data}",
            RETRIEVAL,
            size,
            _BLIP_BYTES[size],
            captioner=f"blip-image-captioning-{size}",
            answerer="blip-vqa-base",
        )
        for data in ("coco", "flickr")
        for size in ("base", "large")
    ),
    _blip_of_hub(
        "blip-image-captioning-base", ("captioner",), "base", 990_000_000, captioner="blip-image-captioning-base"
    ),
    _blip_of_hub(
        "blip-image-captioning-large", ("captioner",), "large", 1_879_000_000, captioner="blip-image-captioning-large"
    ),
    _blip_of_hub("blip-vqa-base", ("answerer",), "base", 1_539_000_000, answerer="blip-vqa-base"),
    _blip_of_hub("blip-vqa-capfilt-large", ("answerer",), "base", 1_539_000_000, answerer="blip-vqa-capfilt-large"),
    # BLIP, from its authors.
    _blip("blip-base-14m", f"{_BLIP}model_base_14M.pth", 224, (*RETRIEVAL, "captioner")),
    _blip("blip-base-129m", f"{_BLIP}model_base.pth", 224, (*RETRIEVAL, "captioner")),
    _blip("blip-base-capfilt", f"{_BLIP}model_base_capfilt_large.pth", 224, (*RETRIEVAL, "captioner")),
    _blip("blip-large-129m", f"{_BLIP}model_large.pth", 224, (*RETRIEVAL, "captioner"), large=True),
    _blip("blip-retrieval-base-coco", f"{_BLIP}model_base_retrieval_coco.pth", 384, RETRIEVAL),
    _blip("blip-retrieval-large-coco", f"{_BLIP}model_large_retrieval_coco.pth", 384, RETRIEVAL, large=True),
    _blip("blip-retrieval-base-flickr", f"{_BLIP}model_base_retrieval_flickr.pth", 384, RETRIEVAL),
    _blip("blip-retrieval-large-flickr", f"{_BLIP}model_large_retrieval_flickr.pth", 384, RETRIEVAL, large=True),
    _blip("blip-caption-base-capfilt", f"{_BLIP}model_base_caption_capfilt_large.pth", 384, ("captioner",)),
    _blip("blip-caption-large", f"{_BLIP}model_large_caption.pth", 384, ("captioner",), large=True),
    _blip("blip-vqa-129m", f"{_BLIP}model_vqa.pth", 480, ("answerer",)),
    _blip("blip-vqa-capfilt", f"{_BLIP}model_base_vqa_capfilt_large.pth", 480, ("answerer",)),
    _known("blip-nlvr", "blip", Released((f"{_BLIP}model_base_nlvr.pth",)), 384, NLVR),
    _blip("blip-lavis-coco", f"{_LAVIS}BLIP/blip_coco_retrieval.pth", 384, RETRIEVAL),
    _blip("blip-lavis-flickr", f"{_LAVIS}BLIP/blip_flickr_retrieval.pth", 384, RETRIEVAL),
    _blip("blip-lavis-caption", f"{_LAVIS}BLIP/blip_coco_caption_base.pth", 384, ("captioner",)),
    # ALBEF, from its authors and from LAVIS, which trained another text side.
    _albef("albef-14m", "ALBEF.pth", 256),
    _albef("albef-4m", "ALBEF_4M.pth", 256),
    _albef("albef-coco", "mscoco.pth", 384),
    _albef("albef-flickr", "flickr30k.pth", 384),
    _albef("albef-refcoco", "refcoco.pth", 384),
    _albef("albef-vqa", "vqa.pth", 384, not_run=ALBEF_ANSWERS),
    _albef("albef-nlvr", "pretrain_model_nlvr.pth", 256, not_run=NLVR),
    _albef_of_lavis("albef-lavis-coco", "albef_coco_retrieval_lavis.pt"),
    _albef_of_lavis("albef-lavis-flickr", "albef_flickr_retrieval_lavis.pt"),
    _albef_of_lavis("albef-lavis-vqa", "albef_vqav2_lavis.pt", not_run=ALBEF_ANSWERS),
    _known("albef-lavis-nlvr", "albef", None, 384, NLVR),
    _known("albef-lavis-snli-ve", "albef", None, 384, ENTAILMENT),
    # BLIP-2.
    _blip2_of_hub("blip2-itm-vit-g", RETRIEVAL, 224, 1.17),
    _blip2_of_hub("blip2-itm-vit-g-coco", RETRIEVAL, 364, 1.17),
    _blip2_of_hub("blip2-opt-2.7b", GENERATION, 224, 3.75),
    _blip2_of_hub("blip2-opt-2.7b-coco", GENERATION, 364, 3.75),
    _blip2_of_hub("blip2-opt-6.7b", GENERATION, 224, 7.75),
    _blip2_of_hub("blip2-opt-6.7b-coco", GENERATION, 364, 7.75),
    *(
        _blip2_of_hub(name, (), 364 if name.endswith("coco") else 224, parameters, not_run=T5)
        for name, parameters in (
            ("blip2-flan-t5-xl", 3.94),
            ("blip2-flan-t5-xl-coco", 3.94),
            ("blip2-flan-t5-xxl", 12.2),
        )
    ),
    Checkpoint(
        "blip2-pretrain",
        "blip2",
        Released((f"{_LAVIS}BLIP2/blip2_pretrained.pth", f"{_LAVIS}BLIP2/eva_vit_g.pth"), _stated_of_vit_g(224)),
        RETRIEVAL,
        image_size=224,
        licence=BSD,
        memory_bytes=_VIT_G_MEMORY,
        **_BLIP2_TALKS,
    ),
    Checkpoint(
        "blip2-coco",
        "blip2",
        Released((f"{_LAVIS}BLIP2/blip2_finetune_coco.pth",), _stated_of_vit_g(364)),
        RETRIEVAL,
        image_size=364,
        licence=BSD,
        memory_bytes=_VIT_G_MEMORY,
        **_BLIP2_TALKS,
    ),
    _known(
        "blip2-pretrain-vit-l",
        "blip2",
        Released((f"{_LAVIS}BLIP2/blip2_pretrained_vitL.pth", f"{_LAVIS}BLIP2/clip_vit_L.pth")),
        224,
        VIT_L,
    ),
    *(
        _known(f"blip2-lavis-{name}", "blip2", Released((f"{_LAVIS}BLIP2/blip2_{file}.pth",)), side, OTHER_FILE)
        for name, file, side in (
            ("opt-2.7b", "pretrained_opt2.7b", 224),
            ("opt-6.7b", "pretrained_opt6.7b", 224),
            ("flan-t5-xl", "pretrained_flant5xl", 224),
            ("flan-t5-xl-vit-l", "pretrained_flant5xl_vitL", 224),
            ("flan-t5-xxl", "pretrained_flant5xxl", 224),
            ("opt-2.7b-coco", "caption_opt2.7b", 364),
            ("opt-6.7b-coco", "caption_opt6.7b", 364),
            ("flan-t5-xl-coco", "caption_flant5xl", 364),
        )
    ),
    # Encoders whose candidates another model's matcher reranks.
    _towers("clip-vit-base-patch32", "clip", "openai/clip-vit-base-patch32", 224, MIT, 151_277_313),
    _towers("clip-vit-large-patch14", "clip", "openai/clip-vit-large-patch14", 224, MIT, 427_616_513),
    _towers("siglip-base-patch16-224", "siglip", "google/siglip-base-patch16-224", 224, APACHE, 203_155_970),
    _towers("siglip-so400m-patch14-384", "siglip", "google/siglip-so400m-patch14-384", 384, APACHE, 877_960_274),
    _towers("siglip2-base-patch16-224", "siglip", "google/siglip2-base-patch16-224", 224, APACHE, 375_187_970),
    _towers(
        "siglip2-so400m-patch16-naflex", "siglip2", "google/siglip2-so400m-patch16-naflex", 256, APACHE, 1_136_008_498
    ),
    # InstructBLIP.
    *(
        _instruct(f"instructblip-{name}", f"Salesforce/instructblip-{name}", parameters)
        for name, parameters in _INSTRUCT_BILLIONS.items()
    ),
    *(
        _instruct(
            f"instructblip-lavis-{name}",
            Released((f"{_LAVIS}InstructBLIP/instruct_blip_{file}_trimmed.pth",)),
            _INSTRUCT_BILLIONS[name],
        )
        for name, file in (
            ("flan-t5-xl", "flanxl"),
            ("flan-t5-xxl", "flanxxl"),
            ("vicuna-7b", "vicuna7b"),
            ("vicuna-13b", "vicuna13b"),
        )
    ),
    # ALPRO.
    _video("alpro", f"{_ALPRO}output.zip", 40),
    _video("alpro-lavis-pretrain", f"{_LAVIS}ALPRO/alpro_pretrain.pt", 40),
    _video("alpro-lavis-msrvtt", f"{_LAVIS}ALPRO/alpro_msrvtt_retrieval.pt", 40),
    _video("alpro-lavis-didemo", f"{_LAVIS}ALPRO/alpro_didemo_retrieval.pt", 50),
    _video("alpro-lavis-msrvtt-qa", f"{_LAVIS}ALPRO/alpro_msrvtt_qa.pth", 40),
    _video("alpro-lavis-msvd-qa", f"{_LAVIS}ALPRO/alpro_msvd_qa.pth", 40),
    Checkpoint("hashing", "hashing", None, ("encoder",), image_size=32, licence=BSD, protocol="itc"),
)

CHECKPOINTS: Mapping[str, Checkpoint] = {row.name: row for row in _ROWS}


def companion(checkpoint: Checkpoint, role: Role) -> Checkpoint:
    """Find the checkpoint that plays a role for this one: itself, or its captioner or answerer."""
    if role in checkpoint.roles:
        return checkpoint
    named = {"captioner": checkpoint.captioner, "answerer": checkpoint.answerer}.get(role)
    if named is None:
        raise RoleMissing(checkpoint.name, role)
    return CHECKPOINTS[named]
