"""The sheet that toy people and vehicles are drawn on: colour and light apart, so that the light can change later."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
FloatImage = NDArray[np.float32]

NEUTRAL = 128  # the light that leaves a colour as it is
_DARK, _BRIGHT = 84, 150  # the two sides of something round


def arc(centre: Point, rx: float, ry: float, start: float, end: float, steps: int = 14) -> list[Point]:
    """Points on an ellipse from angle `start` to `end` in degrees, clockwise on the screen from the right."""
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(centre[0] + rx * math.cos(a), centre[1] + ry * math.sin(a)) for a in angles]


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with `share` of `other` in it."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(one, other, strict=True))
    return (r, g, b)


class Canvas:
    """Draws shapes given in units of the picture's height, origin at the top in the middle, y downwards.

    The canvas is larger than the picture and shrunk at the end, which smooths the edges. What is drawn
    later covers what was drawn before. `sun` in [-1, 1] is the side the light comes from.
    """

    def __init__(self, height: int, width: int, sun: float = 0.0) -> None:
        self.factor = 4 if height <= 96 else 2
        self.sun = sun
        size = (width * self.factor, height * self.factor)
        self.colours = Image.new("RGBA", size, (0, 0, 0, 0))
        self.lights = Image.new("L", size, NEUTRAL)
        self._colour = ImageDraw.Draw(self.colours)
        self._light = ImageDraw.Draw(self.lights)
        self.place()

    @property
    def aspect(self) -> float:
        """Width of the picture as a share of its height."""
        return self.colours.width / self.colours.height

    def place(self, zoom_x: float = 1.0, zoom_y: float = 1.0, dx: float = 0.0, dy: float = 0.0) -> None:
        """Move what is drawn from now on: stretched by the zooms, then shifted by `dx`, `dy` (in picture heights)."""
        width, height = self.colours.size
        self._sx, self._sy = height * zoom_x, height * zoom_y
        self._ox, self._oy = width / 2 + dx * height, dy * height

    def polygon(self, points: Sequence[Point], colour: Colour, light: int | None = NEUTRAL, opacity: int = 255) -> None:
        """A filled polygon; with `light` None the light that lies there already stays, as for a printed pattern."""
        pixels = [(self._ox + x * self._sx, self._oy + y * self._sy) for x, y in points]
        self._colour.polygon(pixels, fill=(*colour, opacity))
        if light is not None:
            self._light.polygon(pixels, fill=light)

    def light_polygon(self, points: Sequence[Point], light: int) -> None:
        """Change the light inside a polygon, and leave the colours."""
        self._light.polygon([(self._ox + x * self._sx, self._oy + y * self._sy) for x, y in points], fill=light)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A line `width` thick (in picture heights), lit as what lies below it."""
        pixels = [(self._ox + x * self._sx, self._oy + y * self._sy) for x, y in points]
        self._colour.line(pixels, fill=(*colour, 255), width=max(1, round(width * self._sy)), joint="curve")

    def ellipse(self, centre: Point, rx: float, ry: float, colour: Colour, *, rounded: bool = True) -> None:
        """A filled ellipse, lit like a ball unless `rounded` is False (then it keeps the light below)."""
        self._colour.ellipse(self._box(centre, rx, ry), fill=(*colour, 255))
        if rounded:
            self._light.ellipse(self._box(centre, rx, ry), fill=_DARK + 12)
            lit = (centre[0] + self.sun * rx * 0.25, centre[1] - ry * 0.12)
            self._light.ellipse(self._box(lit, rx * 0.78, ry * 0.8), fill=NEUTRAL)
            self._light.ellipse(self._box((lit[0], lit[1] - ry * 0.2), rx * 0.4, ry * 0.4), fill=_BRIGHT)

    def limb(self, start: Point, end: Point, r_start: float, r_end: float, colour: Colour, dim: int = 0) -> None:
        """A tapered limb with round ends, lit like a cylinder and darker by `dim` (for the far arm and leg)."""
        ux, uy = end[0] - start[0], end[1] - start[1]
        length = math.hypot(ux, uy) or 1.0
        for draw, fill, share, shift in (
            (self._colour, (*colour, 255), 1.0, 0.0),
            (self._light, _DARK - dim, 1.0, 0.0),
            (self._light, NEUTRAL - dim, 0.68, 0.3),
            (self._light, _BRIGHT - dim, 0.28, 0.42),
        ):
            offset, beyond = shift * self.sun, (1 - share) / length  # the lit strip runs through to both ends
            a = (start[0] - ux * r_start * beyond + offset * r_start, start[1] - uy * r_start * beyond)
            b = (end[0] + ux * r_end * beyond + offset * r_end, end[1] + uy * r_end * beyond)
            self._capsule(draw, a, b, r_start * share, r_end * share, fill)

    def shadow(self, centre: Point, rx: float, ry: float, darkness: int) -> None:
        """A flat shadow on the ground, to be drawn first."""
        self._colour.ellipse(self._box(centre, rx, ry), fill=(12, 12, 18, darkness))

    def finished(self) -> tuple[FloatImage, FloatImage, FloatImage]:
        """Colour (H, W, 3) in 0..255, opacity (H, W, 1) in 0..1 and light (H, W, 1) around 1, all float32."""
        small = np.asarray(self.colours.reduce(self.factor), dtype=np.float32)
        lights = self.lights.reduce(self.factor).filter(ImageFilter.GaussianBlur(0.004 * small.shape[0]))
        light = np.asarray(lights, dtype=np.float32)[..., None] / np.float32(NEUTRAL)
        return small[..., :3], small[..., 3:] / np.float32(255), light

    def _box(self, centre: Point, rx: float, ry: float) -> tuple[float, float, float, float]:
        x, y = self._ox + centre[0] * self._sx, self._oy + centre[1] * self._sy
        rx, ry = abs(rx) * self._sx, abs(ry) * self._sy
        return (x - rx, y - ry, x + rx, y + ry)

    def _capsule(
        self, draw: ImageDraw.ImageDraw, a: Point, b: Point, ra: float, rb: float, fill: int | tuple[int, ...]
    ) -> None:
        across_x, across_y = b[1] - a[1], a[0] - b[0]
        length = math.hypot(across_x, across_y) or 1.0
        nx, ny = across_x / length, across_y / length
        corners = (
            (a[0] + nx * ra, a[1] + ny * ra),
            (b[0] + nx * rb, b[1] + ny * rb),
            (b[0] - nx * rb, b[1] - ny * rb),
            (a[0] - nx * ra, a[1] - ny * ra),
        )
        draw.polygon([(self._ox + x * self._sx, self._oy + y * self._sy) for x, y in corners], fill=fill)
        draw.ellipse(self._box(a, ra, ra), fill=fill)
        draw.ellipse(self._box(b, rb, rb), fill=fill)
