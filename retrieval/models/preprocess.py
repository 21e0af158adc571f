"""The authors' preprocessing: what a picture and a text go through before a model sees them.

ALBEF, BLIP and BLIP-2 share the picture side: bicubic resize with antialiasing to a square, the aspect not kept,
then CLIP's mean and standard deviation. Pillow gives the authors' pixels bit for bit; resizing tensors does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import Image, Resampling

from retrieval.types import UInt8

if TYPE_CHECKING:
    import torch

Channels = tuple[float, float, float]

CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)

CAPTION_WORDS = 50
QUESTION_WORDS = 50
ALBEF_CAPTION_WORDS = 30

# Both cleaners of BLIP act on these; comma, apostrophe, question mark, hyphen and slash stay.
_PUNCTUATION = '.!"()*#:;~'
_TO_SPACE = str.maketrans(_PUNCTUATION, " " * len(_PUNCTUATION))
_TO_NOTHING = str.maketrans("", "", _PUNCTUATION)

_ALBEF_PUNCTUATION = ",.'!?\"()*#:;~"
_ALBEF_TO_NOTHING = str.maketrans("", "", _ALBEF_PUNCTUATION)
_ALBEF_TO_SPACE = str.maketrans("-/", "  ")
_SPACES = re.compile(r"\s{2,}")


def resize(image: Image, size: int) -> UInt8:
    """Resize a picture to `uint8 [size, size, 3]`: bicubic, the aspect not kept."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return np.array(rgb.resize((size, size), Resampling.BICUBIC), dtype=np.uint8)


def normalise(
    pixels: UInt8, mean: Channels = CLIP_MEAN, std: Channels = CLIP_STD, *, device: str = "cpu"
) -> torch.Tensor:
    """Turn prepared pictures `uint8 [n, R, R, 3]` into what a vision model reads: `float32 [n, 3, R, R]`."""
    import torch  # here, so that a model without torch can resize its pictures

    values = torch.tensor(pixels, device=device).permute(0, 3, 1, 2).to(torch.float32).div(255)
    shift = torch.tensor(mean, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    scale = torch.tensor(std, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    return values.sub(shift).div(scale).contiguous()


def pre_caption(text: str, *, max_words: int = CAPTION_WORDS) -> str:
    """Clean a caption or a query as BLIP's evaluation does: lower case, punctuation to spaces, 50 words."""
    spaced = _SPACES.sub(" ", spaced_punctuation(text.lower()))
    return " ".join(spaced.rstrip("\n").strip(" ").split(" ")[:max_words])


def pre_caption_albef(text: str, *, max_words: int = ALBEF_CAPTION_WORDS) -> str:
    """Clean a caption or a query as ALBEF does: lower case, punctuation deleted, hyphen and slash to spaces, 30 words.

    Source: salesforce/ALBEF dataset/utils.py, `pre_caption`; <person> is a name that its data gives to people.
    """
    deleted = text.lower().translate(_ALBEF_TO_NOTHING).translate(_ALBEF_TO_SPACE).replace("<person>", "person")
    spaced = _SPACES.sub(" ", deleted)
    return " ".join(spaced.rstrip("\n").strip(" ").split(" ")[:max_words])


def pre_question(text: str, *, max_words: int = QUESTION_WORDS) -> str:
    """Clean a question as BLIP does: lower case, punctuation deleted, inner spaces kept, 50 words."""
    return " ".join(text.lower().translate(_TO_NOTHING).rstrip(" ").split(" ")[:max_words])


def spaced_punctuation(text: str) -> str:
    """Replace the punctuation that BLIP drops by spaces, character by character: positions stay."""
    return text.translate(_TO_SPACE)
