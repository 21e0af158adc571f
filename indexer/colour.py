"""Whatever a decoder hands over, as people see it: upright, in sRGB, 8 bits a channel, on white."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import Base as Exif

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_LEVELS = np.linspace(0, 255, 9).astype(np.uint8)
_PROBE = Image.fromarray(np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS), axis=-1).reshape(27, 27, 3))


def as_seen(image: Image.Image) -> Image.Image:
    """Turn a loaded picture of any mode into a plain RGB one that carries no profile, EXIF or transparency."""
    turn = _turn(image)
    profile = image.info.get("icc_profile")
    shallow = _in_8_bits(image)
    opacity = _opacity(shallow)
    rgb = _in_srgb(shallow, profile)
    if opacity is not None:
        white = Image.new("RGB", rgb.size, "white")
        white.paste(rgb, mask=opacity)
        rgb = white
    upright = rgb.transpose(turn) if turn is not None else rgb
    plain = upright.copy() if upright is image else upright
    plain.info = {}
    return plain


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The turn that EXIF (or XMP) asks for; read after loading, as PNG may name it behind the pixels."""
    try:
        return _TURNS.get(image.getexif().get(Exif.Orientation, 1))
    except Exception:  # damaged EXIF raises nearly everything, and is no reason to lose a picture
        return None


# --- depth


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey pictures of 16 or 32 bits to 8 (Pillow would clip them to white); others stay as they are."""
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and max(transparent) > 255:
        # Pillow reads 16-bit RGB as 8-bit, but leaves the transparent colour in 16.
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    black, white = _range(image, values)
    scaled = (values.astype(np.float32) - np.float32(black)) * np.float32(255 / (white - black))
    grey = Image.fromarray(np.nan_to_num(np.rint(scaled), nan=0).clip(0, 255).astype(np.uint8))
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _range(image: Image.Image, values: NDArray[np.generic]) -> tuple[float, float]:
    """The values that mean black and white, in that order."""
    tags = getattr(image, "tag_v2", {})  # TIFF alone has them
    bits = int(tags.get(258, (16,))[0])
    if image.mode.startswith("I;16"):
        black, white = 0.0, float(2**bits - 1)
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        black, white = 0.0, 65535.0
    elif image.mode == "I" and tags and bits <= 16:
        black, white = 0.0, 32767.0  # signed: Pillow reads every other 16-bit TIFF as I;16
    else:
        black, white = _found_range(values)
    return (white, black) if tags.get(262) == 0 else (black, white)  # photometric 0: white is zero


def _found_range(values: NDArray[np.generic]) -> tuple[float, float]:
    """Guess black and white of numbers without a stated range: 0 to 1, 8 or 16 bits, else all that occurs."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if low >= 0:
        for white in (1.0, 255.0, 65535.0):
            if high <= white:
                return 0.0, white
    return (low, high) if high > low else (low, low + 1)


# --- transparency


def _opacity(image: Image.Image) -> Image.Image | None:
    """The alpha channel where any pixel is not opaque; takes the transparent colour out of `info`."""
    if "transparency" not in image.info and image.mode not in ("LA", "PA", "RGBA", "RGBa"):
        return None
    alpha = (image if image.mode == "RGBA" else image.convert("RGBA")).getchannel("A")
    image.info.pop("transparency", None)
    return None if alpha.getextrema() == (255, 255) else alpha


# --- colour


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to RGB through the picture's own profile; a profile that does not fit is as good as none."""
    opaque = _without_alpha(image)
    if opaque.mode == "LAB":
        return _managed(opaque, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    if profile:
        try:
            return _managed(opaque, ImageCms.ImageCmsProfile(BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return opaque if opaque.mode == "RGB" else opaque.convert("RGB")


def _managed(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    # Profiles and transforms are made anew for each picture: sharing them between threads is not promised to work.
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, image.mode, "RGB", _INTENT, _FLAGS)
    if image.mode == "RGB" and _changes_nothing(transform):
        return image
    return _transformed(image, transform)


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB under whatever name, judged by 729 colours.

    That takes 3 ms; converting 12 megapixels takes 170, during which Pillow lets no other thread run.
    """
    before, after = np.asarray(_PROBE, np.int16), np.asarray(_transformed(_PROBE, transform), np.int16)
    return int(np.abs(after - before).max()) <= 2


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    managed = ImageCms.applyTransform(image, transform)
    assert managed is not None  # None only where a picture is converted in place
    return managed


def _without_alpha(image: Image.Image) -> Image.Image:
    """The same colours in one of the modes that profiles speak of: L, RGB, CMYK, LAB."""
    match image.mode:
        case "L" | "RGB" | "CMYK" | "LAB":
            return image
        case "1" | "LA":
            return image.convert("L")
        case "RGBa":
            return image.convert("RGBA").convert("RGB")
        case _:
            return image.convert("RGB")
