"""The places behind the things of a postcard, at a time of the day and in a weather.

A place is a list of layers from back to front. The air (time and weather) decides the sky and the light that falls on
every colour, so that no layer needs to know the time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from PIL import Image, ImageChops, ImageDraw

from retrieval.training.world.marks import Rgb, blend

PLACES = ("beach", "street", "forest", "snow", "desert", "kitchen", "field", "harbour", "bedroom")
TIMES = ("day", "dusk", "night")
WEATHERS = ("clear", "rain")


@lru_cache(maxsize=1024)
def backdrop(place: str, time: str, weather: str, variant: int, size: int) -> Image.Image:
    """A place without things: an RGB picture of size x size, the same for the same arguments.

    Variants differ in where hills, clouds, houses and trees are. The picture is shared: copy it before drawing on it.
    Raises KeyError for an unknown place, time or weather.
    """
    side = 2 * size  # shrunk afterwards: smooth edges
    canvas = Canvas(Image.new("RGB", (side, side)), side, _AIRS[time, weather])
    _draw(canvas, _PLACES[place], f"{place} {variant}")
    return canvas.picture.resize((size, size), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Air:
    """A time and a weather: the sky's colours from the top to the horizon, and the light on everything below.

    A colour in this light is multiplied by `shade`, mixed with `tone` by `toned`, and made grey by `greyed`.
    """

    time: str
    sky: tuple[Rgb, Rgb, Rgb]
    cloud: Rgb
    orb: Rgb
    streak: Rgb
    lamps: float  # the share of windows with a light
    shade: tuple[float, float, float]
    tone: Rgb
    toned: float
    greyed: float = 0.0
    rainy: bool = False

    def on(self, colour: Rgb) -> Rgb:
        """A colour in this light."""
        red, green, blue = (round(value * share) for value, share in zip(colour, self.shade, strict=True))
        toned = blend((red, green, blue), self.tone, self.toned)
        grey = round(0.78 * sum(toned) / 3)
        return blend(toned, (grey, grey, min(255, grey + 8)), self.greyed)


_CLEAR = {
    "day": Air(
        "day",
        sky=((142, 194, 228), (180, 216, 236), (220, 236, 240)),
        cloud=(240, 246, 248),
        orb=(252, 240, 186),
        streak=(246, 250, 255),
        lamps=0.0,
        shade=(1.0, 1.0, 1.0),
        tone=(255, 255, 255),
        toned=0.0,
    ),
    "dusk": Air(
        "dusk",
        sky=((112, 82, 142), (206, 112, 122), (246, 174, 112)),
        cloud=(232, 148, 138),
        orb=(255, 214, 140),
        streak=(255, 226, 206),
        lamps=0.4,
        shade=(1.0, 0.80, 0.76),
        tone=(196, 96, 116),
        toned=0.24,
    ),
    "night": Air(
        "night",
        sky=((16, 22, 60), (28, 40, 90), (52, 66, 120)),
        cloud=(40, 50, 96),
        orb=(244, 238, 206),
        streak=(182, 198, 236),
        lamps=0.5,
        shade=(0.46, 0.47, 0.56),
        tone=(20, 32, 100),
        toned=0.28,
    ),
}
_RAIN_SKIES: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    "day": ((132, 142, 154), (152, 160, 170), (172, 178, 184)),
    "dusk": ((98, 82, 104), (142, 102, 108), (176, 126, 108)),
    "night": ((22, 26, 42), (32, 38, 56), (46, 52, 72)),
}


def _in_rain(air: Air) -> Air:
    sky = _RAIN_SKIES[air.time]
    greyed = {"day": 0.6, "dusk": 0.4, "night": 0.3}[air.time]
    return replace(air, sky=sky, cloud=blend(sky[0], (30, 32, 44), 0.18), greyed=greyed, rainy=True)


_AIRS: dict[tuple[str, str], Air] = {
    (time, weather): _in_rain(_CLEAR[time]) if weather == "rain" else _CLEAR[time]
    for time, weather in product(TIMES, WEATHERS)
}


@dataclass(frozen=True)
class Canvas:
    """A picture or a part of one: places are shares of its width and height, radii and widths shares of `unit` pixels.

    What is drawn with `colour` stands in the light of the air; what is drawn with `glow` shines itself.
    """

    picture: Image.Image
    unit: int
    air: Air

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        """What draws on the picture."""
        return ImageDraw.Draw(self.picture)

    def at(self, points: tuple[float, ...]) -> list[float]:
        """Places in pixels."""
        width, height = self.picture.size
        return [round(value * (height if i % 2 else width)) for i, value in enumerate(points)]

    def box(self, colour: Rgb, *corners: float, radius: float = 0.0) -> None:
        """A filled rectangle."""
        self.glow_box(self.air.on(colour), *corners, radius=radius)

    def glow_box(self, glow: Rgb, *corners: float, radius: float = 0.0) -> None:
        """A filled rectangle that shines."""
        left, top, right, bottom = self.at(corners)
        if right > left and bottom > top:
            self.pen.rounded_rectangle((left, top, right - 1, bottom - 1), radius * self.unit, fill=glow)

    def ellipse(self, colour: Rgb, *corners: float) -> None:
        """A filled ellipse."""
        self.pen.ellipse(self.at(corners), fill=self.air.on(colour))

    def disc(self, glow: Rgb, x: float, y: float, radius: float) -> None:
        """A circle that shines."""
        (across, down), r = self.at((x, y)), radius * self.unit
        self.pen.ellipse((across - r, down - r, across + r, down + r), fill=glow)

    def polygon(self, colour: Rgb, *points: float) -> None:
        """A filled polygon."""
        self.pen.polygon(self.at(points), fill=self.air.on(colour))

    def line(self, colour: Rgb, *points: float, width: float) -> None:
        """A stroke."""
        self.pen.line(self.at(points), fill=self.air.on(colour), width=max(1, round(width * self.unit)), joint="curve")

    def halo(self, glow: Rgb, x: float, y: float, radius: float, strength: float) -> None:
        """A glow that fades from a point."""
        (across, down), r = self.at((x, y)), max(1, round(radius * self.unit))
        fading = ImageChops.invert(Image.radial_gradient("L").resize((2 * r, 2 * r)))
        corner = (int(across) - r, int(down) - r)
        self.picture.paste(glow, corner, fading.point(lambda value: int(max(0, value - 75) * strength * 1.4)))


Layer = Callable[[Canvas, random.Random], None]

_LAMP: Rgb = (255, 216, 136)


def _draw(canvas: Canvas, layers: tuple[Layer, ...], seed: str) -> None:
    """Draw layers from back to front; each has dice of its own, so that no time or weather moves the others."""
    for number, layer in enumerate(layers):
        layer(canvas, random.Random(f"{seed} {number}"))


# ---- the sky


def _sky(horizon: float = 1.0) -> Layer:
    """The sky down to the horizon with what the air shows there: stars, sun or moon, clouds."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        star_dice, cloud_dice = _dice(rng), _dice(rng)
        _gradient(canvas, horizon)
        if canvas.air.rainy:
            _rain_clouds(canvas, horizon, cloud_dice)
            return
        if canvas.air.time == "night":
            _stars(canvas, horizon, star_dice)
        _orb(canvas, rng.choice((0.34, 0.66)) + rng.uniform(-0.04, 0.04), horizon)
        _clouds(canvas, horizon, cloud_dice)

    return draw


def _dice(rng: random.Random) -> random.Random:
    """Dice of its own for a part of a layer that is not always drawn."""
    return random.Random(rng.getrandbits(32))


def _gradient(canvas: Canvas, horizon: float) -> None:
    top, middle, low = canvas.air.sky
    width, height = canvas.picture.size
    depth = max(1, round(horizon * height))
    pen = canvas.pen
    for y in range(depth):
        share = 2 * y / depth
        colour = blend(top, middle, share) if share < 1 else blend(middle, low, share - 1)
        pen.line((0, y, width, y), fill=colour)


def _stars(canvas: Canvas, horizon: float, rng: random.Random) -> None:
    for _ in range(40):
        canvas.disc((226, 226, 210), rng.random(), rng.uniform(0, horizon * 0.9), rng.uniform(0.003, 0.007))


def _orb(canvas: Canvas, x: float, horizon: float) -> None:
    """The sun, high by day and low at dusk, or a crescent moon."""
    air = canvas.air
    y = horizon * (0.78 if air.time == "dusk" else 0.32)
    canvas.halo(air.orb, x, y, 0.18, 0.55)
    if air.time == "night":
        _crescent(canvas, x, y, 0.058)
    else:
        canvas.disc(air.orb, x, y, 0.062 if air.time == "dusk" else 0.052)


def _crescent(canvas: Canvas, x: float, y: float, radius: float) -> None:
    """The part of a circle that a second circle, moved to the right, leaves."""
    wide, high = (radius * canvas.unit / extent for extent in canvas.picture.size)
    outer = [math.radians(degrees) for degrees in range(50, 311, 10)]
    inner = [math.radians(degrees) for degrees in range(290, 69, -10)]
    shift = math.cos(outer[0]) - 0.82 * math.cos(inner[0])
    points = [(math.cos(angle), math.sin(angle)) for angle in outer]
    points += [(shift + 0.82 * math.cos(angle), 0.82 * math.sin(angle)) for angle in inner]
    canvas.pen.polygon(
        canvas.at(tuple(v for a, b in points for v in (x + a * wide, y + b * high))), fill=canvas.air.orb
    )


def _clouds(canvas: Canvas, horizon: float, rng: random.Random) -> None:
    """Three small clouds, beside the sun or the moon."""
    for number in range(3):
        x, y = (number + rng.uniform(0.3, 0.6)) / 2.9 - 0.03, horizon * rng.uniform(0.12, 0.52)
        _cloud(canvas, canvas.air.cloud, x, y, rng.uniform(0.048, 0.066))


def _rain_clouds(canvas: Canvas, horizon: float, rng: random.Random) -> None:
    """A ceiling of large clouds."""
    for number in range(6):
        x, y = (number + rng.uniform(0.1, 0.9)) / 6, horizon * rng.uniform(0.0, 0.3)
        colour = blend(canvas.air.cloud, canvas.air.sky[1], rng.uniform(0.0, 0.4))
        _cloud(canvas, colour, x, y, rng.uniform(0.075, 0.11))


def _cloud(canvas: Canvas, glow: Rgb, x: float, y: float, size: float) -> None:
    wide, high = (canvas.unit / extent for extent in canvas.picture.size)
    for dx, dy, radius in ((-1.0, 0.25, 0.5), (-0.2, -0.1, 0.72), (0.75, 0.15, 0.6)):
        canvas.disc(glow, x + dx * size * wide, y + dy * size * high, radius * size)
    left, top, right, bottom = (
        x - 1.4 * size * wide,
        y + 0.1 * size * high,
        x + 1.35 * size * wide,
        y + 0.75 * size * high,
    )
    canvas.glow_box(glow, left, top, right, bottom, radius=0.32 * size)


# ---- the rain


def _rain() -> Layer:
    """Slanted streaks over everything, where it rains."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        if not canvas.air.rainy:
            return
        mask = Image.new("L", canvas.picture.size)
        pen = ImageDraw.Draw(mask)
        width, height = canvas.picture.size
        thick = max(1, round(0.0095 * canvas.unit))
        for x, y, length in _drops(rng, width / canvas.unit, height / canvas.unit):
            start = (x * canvas.unit, y * canvas.unit)
            end = (start[0] - 0.32 * length * canvas.unit, start[1] + length * canvas.unit)
            pen.line((*start, *end), fill=150, width=thick)
        canvas.picture.paste(canvas.air.streak, (0, 0), mask)

    return draw


def _drops(rng: random.Random, width: float, height: float) -> list[tuple[float, float, float]]:
    """Where streaks start and how long they are: one at random in every cell of a grid, so that none is empty."""
    step = 0.102
    columns, rows = math.ceil(width / step) + 1, math.ceil(height / step) + 1
    return [
        ((column + rng.random()) * step, (row - 0.6 + rng.random()) * step, rng.uniform(0.06, 0.11))
        for row in range(rows)
        for column in range(columns)
    ]


def _puddles(top: float) -> Layer:
    """Pools on the ground that mirror the sky, where it rains."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        mirror = blend(canvas.air.sky[1], canvas.air.streak, 0.22)
        for number in range(5 if canvas.air.rainy else 0):
            x, y = (number + rng.random()) / 5, rng.uniform(top, 0.96)
            wide, high = rng.uniform(0.07, 0.12), rng.uniform(0.014, 0.022)
            canvas.pen.ellipse(canvas.at((x - wide, y - high, x + wide, y + high)), fill=mirror)

    return draw


# ---- the ground


def _band(colour: Rgb, top: float, bottom: float = 1.0) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        canvas.box(colour, 0, top, 1, bottom)

    return draw


def _hill(colour: Rgb, left: float, right: float, top: float, width: float) -> Layer:
    """A round hill whose top is somewhere between left and right."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        x, y = rng.uniform(left, right), top + rng.uniform(-0.015, 0.015)
        canvas.ellipse(colour, x - width, y, x + width, y + 1.6)

    return draw


def _peaks(colour: Rgb, cap: Rgb, base: float, height: float) -> Layer:
    """Mountains with caps."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(4):
            x, top = (number + rng.uniform(0.1, 0.6)) / 3.6, base - height * rng.uniform(0.6, 1.0)
            wide = (base - top) * 1.1
            canvas.polygon(colour, x - wide, base, x, top, x + wide, base)
            canvas.polygon(
                cap, x - wide * 0.3, top + (base - top) * 0.3, x, top, x + wide * 0.3, top + (base - top) * 0.3
            )

    return draw


def _mesas(colour: Rgb, base: float) -> Layer:
    """Flat-topped rocks."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(3):
            x, top, wide = (number + rng.uniform(0.2, 0.7)) / 3, base - rng.uniform(0.07, 0.17), rng.uniform(0.07, 0.13)
            canvas.polygon(colour, x - wide, base, x - wide * 0.7, top, x + wide * 0.7, top, x + wide, base)

    return draw


def _ripples(colour: Rgb, top: float, bottom: float, count: int, width: float = 0.010) -> Layer:
    """Short level strokes: waves, or wind in the sand."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(count):
            x, y = rng.uniform(-0.05, 0.95), top + (bottom - top) * (number + rng.random()) / count
            canvas.line(colour, x, y, x + rng.uniform(0.06, 0.16), y, width=width)

    return draw


def _dunes(light: Rgb, dark: Rgb, top: float) -> Layer:
    """Waves of sand, one before the other, each with a shaded side."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(3):
            y, x = top + 0.17 * number, rng.uniform(0.2, 0.8)
            crest = (-0.3, y + 0.16, x - 0.30, y + 0.06, x, y, x + 0.30, y + 0.08, 1.3, y + 0.16)
            canvas.polygon(blend(light, dark, 0.16 * number), *crest, 1.3, 1.2, -0.3, 1.2)
            shaded = (x, y, x + 0.30, y + 0.08, 1.3, y + 0.16, 1.3, y + 0.24, x + 0.22, y + 0.20)
            canvas.polygon(blend(dark, light, 0.25), *shaded)

    return draw


# ---- what grows


def _tufts(colour: Rgb, top: float, count: int) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(count):
            x, y = (number + rng.random()) / count, rng.uniform(top, 1.0)
            for lean in (-0.014, 0.0, 0.014):
                canvas.line(colour, x, y, x + lean, y - 0.028, width=0.007)

    return draw


def _trunks(colour: Rgb, count: int, width: float, foot: float) -> Layer:
    """Trunks from the top of the picture down to the ground."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(count):
            x, wide, low = (
                (number + rng.uniform(0.2, 0.8)) / count,
                width * rng.uniform(0.8, 1.25),
                rng.uniform(-0.02, 0.02),
            )
            points = (x - wide * 0.8, 0, x - wide, foot - 0.1, x - wide * 1.7, foot + low, x + wide * 1.7, foot + low)
            canvas.polygon(colour, *points, x + wide, foot - 0.1, x + wide * 0.8, 0)
            for knot in (0.3, 0.52):
                canvas.line(blend(colour, (40, 30, 26), 0.25), x, knot + low, x, knot + 0.09 + low, width=0.008)

    return draw


def _canopy(colour: Rgb, bottom: float, count: int) -> Layer:
    """Leaves over the upper edge."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(count):
            x, y, radius = (number + 0.5) / count, bottom - rng.uniform(0.0, 0.06), 0.75 / count
            canvas.ellipse(colour, x - radius, -0.2, x + radius, y)

    return draw


def _firs(colour: Rgb, snow: Rgb, base: float, count: int) -> Layer:
    """A row of firs under snow."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(count):
            x, high = (number + rng.uniform(0.1, 0.9)) / count, rng.uniform(0.13, 0.20)
            for step in range(3):
                top, wide = base - high * (1 - 0.26 * step), 0.024 + 0.013 * step
                low = top + high * 0.44
                canvas.polygon(colour, x - wide, low, x, top, x + wide, low)
                canvas.polygon(snow, x - wide * 0.5, top + high * 0.22, x, top, x + wide * 0.5, top + high * 0.22)

    return draw


def _cacti(colour: Rgb) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        for left, base in ((0.04, 0.60), (0.40, 0.54), (0.74, 0.64)):
            x, high = left + rng.uniform(0.0, 0.2), rng.uniform(0.17, 0.23)
            canvas.box(colour, x - 0.018, base - high, x + 0.018, base, radius=0.018)
            for side, share in ((-1, 0.45), (1, 0.62)):
                arm, y = x + side * 0.06, base - high * share
                canvas.line(colour, x, y, arm, y, arm, y - 0.075, width=0.024)

    return draw


# ---- what people built


def _houses(walls: tuple[Rgb, ...], base: float) -> Layer:
    """A row of houses, wall to wall, with lamps in some windows when it is dark."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        x, number = -rng.uniform(0.0, 0.1), rng.randrange(len(walls))
        while x < 1:
            wide, top = rng.uniform(0.20, 0.28), rng.uniform(0.08, 0.24)
            wall = walls[number % len(walls)]
            canvas.box(wall, x, top, x + wide, base)
            canvas.box(blend(wall, (60, 50, 60), 0.35), x - 0.008, top - 0.03, x + wide + 0.008, top)
            _windows(canvas, rng, wall, x, top + 0.04, wide, base)
            x, number = x + wide, number + 1

    return draw


def _windows(canvas: Canvas, rng: random.Random, wall: Rgb, x: float, y: float, wide: float, base: float) -> None:
    across = 3 if wide > 0.24 else 2
    step = wide / across
    while y + 0.08 < base:
        for number in range(across):
            left, is_lit = x + step * (number + 0.5) - 0.022, rng.random() < canvas.air.lamps
            dark = canvas.air.on(blend(wall, (214, 228, 236), 0.5))
            pane = blend(dark, _LAMP, 0.85) if is_lit else dark
            canvas.glow_box(pane, left, y, left + 0.044, y + 0.066)
        y += 0.115


def _lamp_posts(base: float) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        start = rng.uniform(0.05, 0.3)
        for x in (start, start + 0.5):
            canvas.line((76, 78, 90), x, base, x, base - 0.34, width=0.014)
            if canvas.air.lamps:
                canvas.halo(_LAMP, x, base - 0.36, 0.17, 0.7)
                canvas.disc(_LAMP, x, base - 0.36, 0.024)
            else:
                canvas.disc((226, 226, 214), x, base - 0.36, 0.024)

    return draw


def _dashes(colour: Rgb, y: float) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        start = rng.uniform(-0.2, 0.0)
        for number in range(6):
            left = start + 0.24 * number
            canvas.polygon(colour, left + 0.015, y, left + 0.135, y, left + 0.12, y + 0.03, left, y + 0.03)

    return draw


def _fence(colour: Rgb, top: float, bottom: float) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        high, start = bottom - top, rng.uniform(-0.1, 0.0)
        for share in (0.22, 0.62):
            canvas.box(colour, 0, top + high * share, 1, top + high * (share + 0.14))
        for number in range(9):
            x = start + 0.14 * number
            canvas.polygon(colour, x, bottom, x, top + 0.02, x + 0.018, top, x + 0.036, top + 0.02, x + 0.036, bottom)

    return draw


def _furrows(light: Rgb, dark: Rgb, top: float) -> Layer:
    """Rows of a crop that run towards a point beyond the horizon."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        canvas.box(light, 0, top, 1, 1)
        middle = rng.uniform(0.3, 0.7)
        for number in range(-12, 13, 2):
            near, far = 0.15, 0.045
            left = middle + number * near
            start = middle + number * far
            canvas.polygon(dark, start, top, start + far, top, left + near, 1, left, 1)

    return draw


def _masts(hull: Rgb, sail: Rgb, line: float) -> Layer:
    """Boats at anchor: low hulls, high masts, furled sails."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        for number in range(5):
            x, high = (number + rng.uniform(0.25, 0.75)) / 5, rng.uniform(0.24, 0.36)
            wide = 0.078
            canvas.line((112, 98, 92), x, line, x, line - high, width=0.011)
            canvas.line((150, 140, 136), x - wide, line - 0.03, x, line - high, x + wide, line - 0.03, width=0.005)
            canvas.line(sail, x + 0.006, line - 0.075, x + 0.064, line - 0.07, width=0.017)
            colour = blend(hull, (206, 198, 190), rng.choice((0.0, 0.35, 0.7)))
            canvas.polygon(
                colour,
                x - wide,
                line - 0.035,
                x + wide,
                line - 0.035,
                x + wide * 0.75,
                line + 0.02,
                x - wide * 0.7,
                line + 0.02,
            )
            if canvas.air.lamps:
                canvas.disc(_LAMP, x, line - high, 0.010)

    return draw


def _quay(colour: Rgb, top: float) -> Layer:
    """A wall of large stones with iron posts for the ropes."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        joint = blend(colour, (60, 56, 66), 0.28)
        for x in (rng.uniform(0.08, 0.3), rng.uniform(0.65, 0.9)):
            canvas.box((88, 86, 98), x - 0.022, top - 0.06, x + 0.022, top + 0.02, radius=0.01)
            canvas.box((88, 86, 98), x - 0.038, top - 0.068, x + 0.038, top - 0.038, radius=0.015)
        canvas.box(colour, 0, top, 1, 1)
        canvas.box(blend(colour, (255, 250, 240), 0.3), 0, top, 1, top + 0.03)
        for row in range(2):
            y = top + 0.03 + (row + 1) * (0.97 - top) / 2
            canvas.line(joint, 0, y, 1, y, width=0.008)
            for number in range(6):
                x = (number + 0.5 * row) / 5 - 0.04
                canvas.line(joint, x, y - (0.97 - top) / 2, x, y, width=0.008)

    return draw


# ---- rooms


def _window(frame: Rgb, left: float, top: float, right: float, bottom: float, *view: Layer) -> Layer:
    """A large window on a view; frame and glazing bars are drawn over it."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        canvas.box(frame, left - 0.03, top - 0.03, right + 0.03, bottom + 0.03, radius=0.012)
        x0, y0, x1, y1 = (int(value) for value in canvas.at((left, top, right, bottom)))
        pane = Canvas(Image.new("RGB", (x1 - x0, y1 - y0)), canvas.unit, canvas.air)
        _draw(pane, view, f"view {rng.getrandbits(32)}")
        canvas.picture.paste(pane.picture, (x0, y0))
        middle = (left + right) / 2
        canvas.box(frame, middle - 0.011, top, middle + 0.011, bottom)

    return draw


def _tiles(colour: Rgb, joint: Rgb, bottom: float) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        canvas.box(colour, 0, 0, 1, bottom)
        for number in range(1, 12):
            canvas.line(joint, number / 11.5, 0, number / 11.5, bottom, width=0.007)
            canvas.line(joint, 0, bottom * number / 8, 1, bottom * number / 8, width=0.007)

    return draw


def _cupboards(colour: Rgb, worktop: Rgb, top: float) -> Layer:
    """A worktop over a row of doors with knobs, an oven among them."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        canvas.box(colour, 0, top, 1, 1)
        oven = rng.randrange(4)
        for number in range(4):
            left, right = number / 4 + 0.015, (number + 1) / 4 - 0.015
            if number == oven:
                _oven(canvas, left, right, top + 0.09)
            else:
                canvas.box(blend(colour, (255, 255, 255), 0.18), left, top + 0.09, right, 0.97, radius=0.015)
                canvas.box((226, 210, 172), right - 0.045, top + 0.15, right - 0.022, top + 0.19, radius=0.01)
        canvas.box(worktop, 0, top, 1, top + 0.05)
        canvas.box(blend(worktop, (50, 40, 40), 0.25), 0, top + 0.05, 1, top + 0.062)

    return draw


def _oven(canvas: Canvas, left: float, right: float, top: float) -> None:
    canvas.box((198, 202, 206), left, top, right, 0.97, radius=0.015)
    for share in (0.2, 0.5, 0.8):
        x = left + (right - left) * share
        canvas.box((96, 100, 110), x - 0.012, top + 0.018, x + 0.012, top + 0.042, radius=0.012)
    canvas.box((84, 86, 98), left + 0.025, top + 0.075, right - 0.025, 0.94, radius=0.015)
    canvas.box((128, 130, 140), left + 0.04, top + 0.055, right - 0.04, top + 0.066, radius=0.005)


def _hanging_lamp(x: float, y: float) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        across, down = x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.02, 0.02)
        canvas.line((96, 92, 96), across, 0, across, down, width=0.008)
        shade = (across - 0.02, down, across + 0.02, down, across + 0.058, down + 0.055, across - 0.058, down + 0.055)
        canvas.polygon((212, 164, 108), *shade)
        if canvas.air.lamps:
            canvas.halo(_LAMP, across, down + 0.07, 0.24, 0.6)
            canvas.glow_box(_LAMP, across - 0.05, down + 0.055, across + 0.05, down + 0.07)

    return draw


def _jars(colours: tuple[Rgb, ...], base: float) -> Layer:
    """Jars with lids on the worktop, and a tap."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        start = rng.choice((0.04, 0.60))
        for number, colour in enumerate(colours):
            x, high = start + 0.095 * number, rng.uniform(0.07, 0.10)
            canvas.box(colour, x, base - high, x + 0.07, base, radius=0.014)
            canvas.box(
                blend(colour, (70, 50, 40), 0.45), x + 0.005, base - high - 0.018, x + 0.065, base - high, radius=0.006
            )
        tap = 1.0 - start - 0.18
        canvas.line(
            (112, 124, 134), tap, base, tap, base - 0.09, tap + 0.08, base - 0.09, tap + 0.08, base - 0.055, width=0.02
        )

    return draw


def _string_of_lights(top: float) -> Layer:
    """Small lamps on a sagging string, lit when it is dark."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        sag = rng.uniform(0.06, 0.08)
        string = [(number / 12, top + sag * abs(math.sin(math.pi * number / 6))) for number in range(13)]
        canvas.line((110, 96, 104), *(value for point in string for value in point), width=0.006)
        for x, y in string:
            if canvas.air.lamps:
                canvas.halo(_LAMP, x, y + 0.012, 0.06, 0.7)
            canvas.disc(_LAMP if canvas.air.lamps else (246, 236, 214), x, y + 0.012, 0.014)

    return draw


def _stripes(colour: Rgb, other: Rgb, bottom: float) -> Layer:
    """Wallpaper."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        canvas.box(colour, 0, 0, 1, bottom)
        for number in range(10):
            canvas.box(other, (number + 0.3) / 10, 0, (number + 0.7) / 10, bottom)

    return draw


def _curtains(colour: Rgb, left: float, right: float, bottom: float) -> Layer:
    def draw(canvas: Canvas, rng: random.Random) -> None:
        fold = blend(colour, (60, 40, 60), 0.18)
        canvas.box((150, 116, 92), left - 0.06, 0.025, right + 0.06, 0.042, radius=0.008)
        for edge, inner in ((left - 0.05, left + 0.085), (right + 0.05, right - 0.085)):
            tie = edge + (inner - edge) * 0.55
            canvas.polygon(colour, edge, 0.04, inner, 0.04, tie, bottom * 0.66, inner, bottom, edge, bottom)
            for share in (0.3, 0.6):
                x = edge + (inner - edge) * share
                canvas.line(fold, x, 0.05, edge + (tie - edge) * share, bottom * 0.66, x, bottom, width=0.008)

    return draw


def _bed(blanket: Rgb, patch: Rgb, wood: Rgb, top: float) -> Layer:
    """A bed along the lower edge, its head on the left or on the right, under a quilt."""

    def draw(canvas: Canvas, rng: random.Random) -> None:
        flip = rng.random() < 0.5

        def side(start: float, end: float) -> tuple[float, float]:
            return (1 - end, 1 - start) if flip else (start, end)

        head, pillow, quilt = side(0.02, 0.07), side(0.07, 0.27), side(0.06, 0.97)
        canvas.box(wood, head[0], top - 0.14, head[1], 1.0, radius=0.02)
        canvas.box((232, 226, 218), pillow[0], top - 0.055, pillow[1], top + 0.06, radius=0.04)
        canvas.box(blanket, quilt[0], top, quilt[1], 0.97, radius=0.035)
        for number in range(18):
            column, row = number % 9, number // 9
            if (column + row) % 2:
                continue
            x, y = quilt[0] + 0.02 + column * 0.098, top + 0.05 + row * 0.105
            canvas.box(patch, x, y, x + 0.088, y + 0.095, radius=0.012)

    return draw


_PLACES: dict[str, tuple[Layer, ...]] = {
    "beach": (
        _sky(0.40),
        _band((92, 160, 178), 0.38, 0.62),
        _ripples((140, 192, 200), 0.41, 0.54, 10),
        _band((214, 226, 216), 0.60, 0.64),
        _band((228, 208, 164), 0.625),
        _hill((214, 226, 216), 0.2, 0.8, 0.555, 1.7),
        _hill((228, 208, 164), 0.2, 0.8, 0.585, 1.6),
        _ripples((208, 186, 142), 0.68, 0.98, 14),
        _puddles(0.72),
        _rain(),
    ),
    "street": (
        _sky(0.5),
        _houses(((178, 138, 124), (160, 150, 168), (192, 174, 142), (146, 158, 168)), 0.64),
        _band((190, 186, 182), 0.64, 0.71),
        _band((112, 114, 122), 0.71),
        _dashes((196, 192, 178), 0.84),
        _puddles(0.76),
        _lamp_posts(0.69),
        _rain(),
    ),
    "forest": (
        _sky(0.75),
        _hill((150, 178, 140), 0.2, 0.8, 0.40, 1.3),
        _trunks((142, 138, 112), 8, 0.014, 0.66),
        _hill((112, 146, 98), 0.2, 0.8, 0.64, 1.8),
        _trunks((116, 94, 78), 4, 0.034, 0.78),
        _canopy((84, 122, 82), 0.24, 6),
        _canopy((100, 140, 92), 0.15, 7),
        _hill((92, 124, 80), 0.2, 0.8, 0.80, 1.8),
        _tufts((120, 156, 100), 0.80, 14),
        _puddles(0.86),
        _rain(),
    ),
    "snow": (
        _sky(0.5),
        _peaks((164, 184, 206), (220, 230, 238), 0.50, 0.30),
        _band((208, 220, 232), 0.495),
        _hill((208, 220, 232), 0.0, 0.5, 0.46, 0.9),
        _firs((110, 140, 140), (214, 226, 234), 0.56, 8),
        _hill((216, 227, 238), 0.5, 1.0, 0.54, 1.3),
        _hill((224, 234, 242), 0.2, 0.8, 0.70, 1.4),
        _ripples((196, 212, 228), 0.74, 0.97, 9),
        _puddles(0.78),
        _rain(),
    ),
    "desert": (
        _sky(0.5),
        _mesas((186, 134, 112), 0.50),
        _band((214, 174, 122), 0.495),
        _dunes((226, 186, 126), (200, 154, 100), 0.42),
        _cacti((118, 142, 98)),
        _ripples((202, 154, 98), 0.84, 0.98, 7),
        _puddles(0.82),
        _rain(),
    ),
    "kitchen": (
        _tiles((176, 206, 194), (202, 222, 212), 0.68),
        _window((226, 218, 200), 0.12, 0.06, 0.88, 0.51, _sky(), _hill((150, 184, 128), 0.1, 0.9, 0.74, 0.9), _rain()),
        _jars(((206, 142, 112), (222, 200, 150), (150, 166, 140)), 0.66),
        _hanging_lamp(0.14, 0.12),
        _hanging_lamp(0.86, 0.12),
        _cupboards((134, 156, 168), (192, 158, 118), 0.66),
    ),
    "field": (
        _sky(0.46),
        _band((158, 188, 134), 0.44, 0.52),
        _hill((150, 184, 140), 0.0, 0.4, 0.36, 0.8),
        _hill((166, 192, 128), 0.6, 1.0, 0.40, 0.9),
        _furrows((174, 194, 104), (156, 178, 92), 0.50),
        _fence((186, 160, 126), 0.46, 0.62),
        _tufts((118, 152, 78), 0.76, 12),
        _puddles(0.72),
        _rain(),
    ),
    "harbour": (
        _sky(0.46),
        _hill((138, 156, 160), 0.1, 0.9, 0.38, 0.7),
        _band((96, 134, 158), 0.44),
        _masts((122, 92, 92), (222, 214, 200), 0.52),
        _ripples((136, 168, 186), 0.56, 0.80, 16),
        _quay((156, 148, 142), 0.80),
        _puddles(0.84),
        _rain(),
    ),
    "bedroom": (
        _stripes((206, 182, 200), (198, 172, 192), 0.80),
        _band((168, 132, 104), 0.80),
        _window((232, 222, 214), 0.13, 0.08, 0.87, 0.60, _sky(), _hill((146, 176, 140), 0.1, 0.9, 0.80, 0.9), _rain()),
        _curtains((190, 132, 148), 0.12, 0.88, 0.66),
        _string_of_lights(0.03),
        _bed((124, 134, 178), (148, 156, 194), (150, 112, 84), 0.74),
    ),
}
