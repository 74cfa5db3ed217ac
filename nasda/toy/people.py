"""Toy people: who somebody is (`Person`), and how a camera sees them walk (`draw_person`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nasda.toy.canvas import Canvas, Colour, Point, arc, mixed

# Few colours on purpose: many people share them, and differ in where they wear them.
CLOTH: dict[str, Colour] = {
    "black": (38, 38, 44),
    "white": (232, 230, 224),
    "grey": (136, 138, 142),
    "red": (196, 44, 48),
    "blue": (48, 92, 188),
    "navy": (34, 44, 92),
    "green": (44, 134, 76),
    "yellow": (232, 190, 52),
    "pink": (226, 128, 158),
    "brown": (124, 84, 54),
    "turquoise": (56, 168, 176),
    "orange": (232, 122, 44),
}
SKIN: tuple[Colour, ...] = ((250, 214, 188), (232, 184, 148), (202, 148, 108), (150, 102, 72), (98, 66, 50))
HAIR: tuple[Colour, ...] = ((30, 26, 26), (66, 44, 34), (118, 78, 46), (212, 172, 96), (164, 164, 166), (158, 70, 38))
HAIRCUTS = ("short", "long", "bun", "ponytail", "afro", "bald")
UPPERS = ("shirt", "jumper", "jacket", "coat", "dress", "vest")
PATTERNS = ("plain", "stripes", "pinstripes", "checks", "dots", "logo", "block", "sash")
LOWERS = ("trousers", "jeans", "shorts", "skirt")
BAGS = ("none", "backpack", "shoulder bag", "handbag")
HATS = ("none", "cap", "beanie", "brim")


@dataclass(frozen=True)
class Person:
    """Everything that stays the same from camera to camera. Colours are RGB, 0..255."""

    girth: float  # 1 is average; the box is as high as the person, so height itself cannot be seen
    head: float  # size of the head, 1 is average
    skin: Colour
    haircut: str
    hair: Colour
    upper: str
    upper_colour: Colour
    sleeve_colour: Colour
    pattern: str
    pattern_colour: Colour
    lower: str
    lower_colour: Colour
    shoe_colour: Colour
    bag: str
    bag_colour: Colour
    hat: str
    hat_colour: Colour
    stride: float  # how far this person steps out, in radians


def draw_attributes(rng: np.random.Generator) -> Person:
    """A person drawn at random; the same generator state gives the same person."""

    def one_of(names: tuple[str, ...], weights: tuple[float, ...]) -> str:
        return names[int(rng.choice(len(names), p=np.array(weights) / sum(weights)))]

    def cloth(weights: tuple[float, ...] | None = None) -> Colour:
        share = None if weights is None else np.array(weights) / sum(weights)
        return tuple(CLOTH.values())[int(rng.choice(len(CLOTH), p=share))]

    upper_colour, pattern_colour, other = cloth(), cloth(), cloth()
    while pattern_colour == upper_colour:
        pattern_colour = cloth()
    sober = (5, 2, 3, 1, 2.5, 4, 1, 0.6, 0.6, 2.5, 0.8, 0.6)
    return Person(
        girth=float(rng.uniform(0.82, 1.26)),
        head=float(rng.uniform(0.93, 1.1)),
        skin=SKIN[int(rng.integers(len(SKIN)))],
        haircut=one_of(HAIRCUTS, (4, 3, 1, 2, 1, 1)),
        hair=HAIR[int(rng.integers(len(HAIR)))],
        upper=one_of(UPPERS, (4, 3, 3, 2, 1.5, 1)),
        upper_colour=upper_colour,
        sleeve_colour=other if rng.random() < 0.3 else upper_colour,
        pattern=one_of(PATTERNS, (2.5, 2, 1.2, 1.5, 1.2, 2, 2, 1.2)),
        pattern_colour=pattern_colour,
        lower=one_of(LOWERS, (4, 2, 2.5, 2)),
        lower_colour=cloth(sober),
        shoe_colour=cloth((4, 4, 1, 1.5, 0.7, 1, 0.5, 0.7, 0.5, 1.5, 0.5, 0.7)),
        bag=one_of(BAGS, (3.5, 3, 2, 1.5)),
        bag_colour=cloth(),
        hat=one_of(HATS, (5, 2, 1.5, 1)),
        hat_colour=cloth(),
        stride=float(rng.uniform(0.32, 0.55)),
    )


_ABOVE = (7, 7, 2.5, 1.5, 2, 2.5, 1, 1, 1, 0.6, 0.4, 0.4)  # a real crowd's colours: weights in the order of CLOTH
_BELOW = (7, 2, 2.5, 0.2, 3, 4, 0.3, 0.1, 0.2, 1, 0.1, 0.1)


def in_everyday_clothes(person: Person, rng: np.random.Generator, share: float) -> Person:
    """The same person with `share` of a real crowd's colours: mostly black, white, grey and blue, in many shades.

    Patterns fade too, since most real clothes are plain.
    """

    def cloth(weights: tuple[float, ...]) -> Colour:
        colour = tuple(CLOTH.values())[int(rng.choice(len(CLOTH), p=np.array(weights) / sum(weights)))]
        shade = (90, 90, 92) if rng.random() < 0.5 else ((0, 0, 0) if sum(colour) > 384 else (255, 255, 255))
        return mixed(colour, shade, float(rng.uniform(0, 0.2)))

    upper, sleeve, pattern, lower, shoe, bag, hat = (
        cloth(weights) for weights in (_ABOVE, _ABOVE, _ABOVE, _BELOW, _BELOW, _BELOW, _ABOVE)
    )
    pattern = mixed(upper, pattern, float(rng.uniform(0, 0.6)))
    sleeve = upper if person.sleeve_colour == person.upper_colour else sleeve
    return replace(
        person,
        upper_colour=mixed(person.upper_colour, upper, share),
        sleeve_colour=mixed(person.sleeve_colour, sleeve, share),
        pattern_colour=mixed(person.pattern_colour, pattern, share),
        lower_colour=mixed(person.lower_colour, lower, share),
        shoe_colour=mixed(person.shoe_colour, shoe, share),
        bag_colour=mixed(person.bag_colour, bag, share),
        hat_colour=mixed(person.hat_colour, hat, share),
    )


@dataclass(frozen=True)
class Step:
    """One instant of a walk: `yaw` in degrees (0 walks towards the camera, 90 to the right), `phase` in radians."""

    yaw: float
    phase: float


_TILT = 0.1  # cameras hang above head height: what is nearer appears lower
_HEAD, _NECK, _SHOULDER, _HIP = 0.078, 0.165, 0.192, 0.475


def draw_person(canvas: Canvas, person: Person, step: Step) -> None:
    """Draw `person` between y = 0 (top of the head) and y = 1 (soles), x = 0 being the middle of the body."""
    _Figure(canvas, person, step).draw()


class _Figure:
    """A skeleton in three dimensions (X to the person's left, Y down, Z forward), drawn part by part, far to near."""

    def __init__(self, canvas: Canvas, person: Person, step: Step) -> None:
        self.canvas, self.person, self.step = canvas, person, step
        self.cos, self.sin = math.cos(math.radians(step.yaw)), math.sin(math.radians(step.yaw))
        self.wide = 0.108 * person.girth
        self.deep = 0.078 * person.girth
        self.hem = {"coat": 0.67, "dress": 0.68, "jacket": 0.51, "shirt": 0.5}.get(person.upper, 0.49)
        flare = 1.24 if person.upper in ("coat", "dress") else 1.0
        self.profile = (  # height, share of the shoulders' width
            (_NECK, 0.36),
            (_SHOULDER - 0.012, 0.72),
            (_SHOULDER + 0.012, 0.98),
            (0.27, 0.95),
            (0.38, 0.8 if person.upper != "coat" else 0.92),
            (_HIP, 0.92),
            (max(self.hem, _HIP + 0.01), 0.94 * flare),
        )

    def draw(self) -> None:
        self.canvas.shadow((0, 0.985), 0.17, 0.022, 90)
        parts: list[tuple[float, Callable[[], None]]] = [(0.0, self.torso), (0.005, self.head)]
        for side in (-1, 1):
            parts.append((self.depth(side * 0.05, 0) - 1, lambda side=side: self.leg(side)))  # type: ignore[misc]
            parts.append((self.depth(side * 0.13, 0), lambda side=side: self.arm(side)))  # type: ignore[misc]
        if self.person.lower == "skirt" and self.hem < 0.6:
            parts.append((-0.5, self.skirt))
        if self.person.haircut in ("long", "ponytail") and self.cos > -0.2:
            parts.append((-0.02, self.hair_behind))
        parts.extend(self.bag_parts())
        for _, part in sorted(parts, key=lambda item: item[0]):
            part()

    # --- from the body to the screen

    def depth(self, x: float, z: float) -> float:
        return z * self.cos - x * self.sin

    def seen(self, x: float, y: float, z: float) -> Point:
        return (x * self.cos + z * self.sin, y + _TILT * self.depth(x, z))

    def share(self, y: float) -> float:
        """Width of the trunk at height `y`, as a share of the shoulders: straight lines between the profile's rows."""
        above, wide = self.profile[0]
        for below, next_wide in self.profile[1:]:
            if y <= below:
                return wide + (next_wide - wide) * max(0.0, y - above) / (below - above)
            above, wide = below, next_wide
        return wide

    def half_width(self, y: float) -> float:
        """Half the width of the body on the screen at height `y`."""
        return self.share(y) * math.hypot(self.wide * self.cos, self.deep * self.sin)

    def around(self, angle: float, y: float) -> tuple[Point, bool]:
        """The point of the trunk at `angle` (degrees from the front) and height `y`, and whether it can be seen."""
        a = math.radians(angle)
        share = self.share(y)
        x, z = share * self.wide * math.sin(a), share * self.deep * math.cos(a)
        facing = math.cos(a) / self.deep * self.cos - math.sin(a) / self.wide * self.sin  # the normal's depth
        return (x * self.cos + z * self.sin, y), facing > 0

    def patch(self, first: float, last: float, top: float, bottom: float, colour: Colour) -> None:
        """A piece of cloth sewn on the trunk from angle `first` to `last`: only the part that faces us is drawn."""
        if last - first >= 360:  # all round: begin and end where nobody sees it
            first, last = -180 - self.step.yaw, 180 - self.step.yaw
        steps = max(2, round((last - first) / 18))
        angles = [first + (last - first) * i / steps for i in range(steps + 1)]
        upper = [point for point, visible in (self.around(a, top) for a in angles) if visible]
        lower = [point for point, visible in (self.around(a, bottom) for a in angles) if visible]
        if len(upper) > 1 and len(lower) > 1:
            self.canvas.polygon(upper + lower[::-1], colour, light=None)

    # --- the parts

    def leg(self, side: int) -> None:
        person, girth = self.person, self.person.girth
        phase = self.step.phase + (math.pi if side > 0 else 0.0)
        swing = person.stride * math.sin(phase)
        bend = max(0.0, 0.75 * math.cos(phase)) * person.stride * 1.6
        hip = (side * 0.05 * girth, 0.49, 0.0)
        knee = (side * 0.053 * girth, hip[1] + 0.235 * math.cos(swing), 0.235 * math.sin(swing))
        ankle = (
            side * 0.05 * girth,
            knee[1] + 0.215 * math.cos(swing - bend),
            knee[2] + 0.215 * math.sin(swing - bend),
        )
        toe = (ankle[0] * 1.25, ankle[1] + 0.03, ankle[2] + 0.062)
        a, b, c, d = (self.seen(*joint) for joint in (hip, knee, ankle, toe))
        dim = 16 if self.depth(side * 0.05, 0) < -0.02 else 0
        bare = person.lower in ("shorts", "skirt")
        shin, thigh = (person.skin if bare else person.lower_colour), person.lower_colour
        self.canvas.limb((c[0], c[1] + 0.012), d, 0.024, 0.021, person.shoe_colour, dim)
        if bare:
            self.canvas.limb(b, c, 0.034 * girth, 0.02, shin, dim)
            self.canvas.limb(a, b, 0.046 * girth, 0.036 * girth, person.skin, dim)
            if person.lower == "shorts" and self.hem < 0.6:  # else they are hidden below a coat or a dress
                cut = (a[0] + (b[0] - a[0]) * 0.85, a[1] + (b[1] - a[1]) * 0.85)
                self.canvas.limb(a, cut, 0.053 * girth, 0.051 * girth, thigh, dim)
        else:
            wide = 0.036 if person.lower == "trousers" else 0.027
            self.canvas.limb(b, c, 0.043 * girth, wide * girth, shin, dim)
            self.canvas.limb(a, b, 0.06 * girth, 0.044 * girth, thigh, dim)
            if person.lower == "jeans":  # turned up, with a light knee
                pale = mixed(shin, (235, 235, 235), 0.5)
                self.canvas.limb((c[0] - 0.006, c[1]), (c[0] + 0.006, c[1]), 0.018 * girth, 0.018 * girth, pale, dim)
                self.canvas.ellipse(b, 0.016 * girth, 0.03, mixed(shin, (235, 235, 235), 0.22), rounded=False)

    def skirt(self) -> None:
        waist, hem = self.half_width(_HIP) * 0.95, self.half_width(_HIP) * 1.32
        self._trunk([(0.46, waist), (0.55, (waist + hem) / 2 * 1.02), (0.68, hem)], self.person.lower_colour)

    def arm(self, side: int) -> None:
        person, girth = self.person, self.person.girth
        phase = self.step.phase + (0.0 if side > 0 else math.pi)
        carries = person.bag == "handbag" and side > 0
        swing = (0.25 if carries else 0.85) * person.stride * math.sin(phase)
        shoulder = (side * (self.wide - 0.008), _SHOULDER + 0.022, 0.0)
        elbow = (side * (self.wide + 0.018), shoulder[1] + 0.15 * math.cos(swing), 0.15 * math.sin(swing))
        bent = swing + 0.3
        hand = (side * (self.wide + 0.026), elbow[1] + 0.14 * math.cos(bent), elbow[2] + 0.14 * math.sin(bent))
        a, b, c = (self.seen(*joint) for joint in (shoulder, elbow, hand))
        dim = 18 if self.depth(side * 0.13, 0) < -0.03 else 0
        sleeve = person.sleeve_colour
        thick = 0.032 * (0.5 + 0.5 * girth)
        self.canvas.ellipse(c, 0.02, 0.023, person.skin)
        long_sleeves = person.upper in ("jumper", "jacket", "coat")
        self.canvas.limb(b, c, thick * 0.86, thick * 0.62, sleeve if long_sleeves else person.skin, dim)
        if person.upper == "vest":
            self.canvas.limb(a, b, thick, thick * 0.86, person.skin, dim)
            self.canvas.limb(a, (a[0], a[1] + 0.01), thick * 1.08, thick, sleeve, dim)
        elif long_sleeves:
            self.canvas.limb(a, b, thick * 1.12, thick * 0.98, sleeve, dim)
        else:
            cut = (a[0] + (b[0] - a[0]) * 0.62, a[1] + (b[1] - a[1]) * 0.62)
            self.canvas.limb(a, b, thick, thick * 0.84, person.skin, dim)
            self.canvas.limb(a, cut, thick * 1.14, thick * 1.12, sleeve, dim)
        if carries:
            self.handbag(c)

    def torso(self) -> None:
        person = self.person
        rows = [(y, self.half_width(y)) for y, _ in self.profile]
        if self.hem < 0.6:  # the seat of the trousers shows below the hem
            self.canvas.limb((-0.02 * self.cos, 0.5), (0.02 * self.cos, 0.5), 0.06, 0.06, person.lower_colour)
        self.canvas.limb((0, 0.12), (0, _NECK + 0.01), 0.03, 0.034, person.skin)
        self._trunk(rows, person.upper_colour)
        self.pattern()
        if person.upper in ("jacket", "coat"):  # open in front: one must see the front to see the shirt
            self.patch(-24, 24, _NECK + 0.005, self.hem - 0.005, mixed(person.pattern_colour, (245, 245, 245), 0.35))
        if person.upper == "dress":
            self.canvas.line(
                [(-rows[4][1], 0.385), (rows[4][1], 0.385)], 0.014, mixed(person.upper_colour, (0, 0, 0), 0.4)
            )

    def _trunk(self, rows: list[tuple[float, float]], colour: Colour) -> None:
        """Half widths by height, filled, and lit as something round."""
        left, right = [(-w, y) for y, w in rows], [(w, y) for y, w in rows]
        self.canvas.polygon(left + right[::-1], colour, light=88)
        for share, light in ((0.8, 108), (0.62, 128), (0.26, 146)):
            shift = self.canvas.sun * 0.3 * (1 - share) * 2
            band = [((-share + shift * 0.5) * w, y) for y, w in rows] + [
                ((share + shift * 0.5) * w, y) for y, w in rows[::-1]
            ]
            self.canvas.light_polygon(band, light)

    def pattern(self) -> None:
        kind, colour = self.person.pattern, self.person.pattern_colour
        top, bottom = _SHOULDER, self.hem
        if kind == "stripes":
            for y in np.arange(top + 0.025, bottom - 0.02, 0.056).tolist():
                self.patch(-180, 180, y, y + 0.028, colour)
        elif kind == "pinstripes":
            for angle in range(-180, 180, 36):
                self.patch(angle - 6, angle + 6, top, bottom, colour)
        elif kind == "checks":
            for row, y in enumerate(np.arange(top + 0.005, bottom - 0.03, 0.05).tolist()):
                for angle in range(-180, 180, 60):
                    start = angle + 30 * (row % 2)
                    self.patch(start, start + 30, y, y + 0.05, colour)
        elif kind == "dots":
            for row, y in enumerate(np.arange(top + 0.03, bottom - 0.015, 0.05).tolist()):
                for angle in range(-180, 180, 45):
                    point, visible = self.around(angle + 22 * (row % 2), y)
                    if visible:
                        self.canvas.ellipse(point, 0.0115, 0.0125, colour, rounded=False)
        elif kind == "logo":  # on the chest only
            self.patch(-34, 34, 0.235, 0.325, colour)
        elif kind == "block":
            self.patch(-180, 180, 0.33, bottom, colour)
        elif kind == "sash":
            for i in range(10):
                middle, y = -62 + 12.4 * i, top + 0.02 + 0.026 * i
                self.patch(middle - 14, middle + 14, y, y + 0.032, colour)

    def head(self) -> None:
        person, canvas = self.person, self.canvas
        size = person.head
        rx, ry = 0.054 * size, 0.067 * size
        cx, cy = 0.008 * self.sin, _HEAD
        canvas.ellipse((cx, cy), rx, ry, person.skin)
        self._hair(cx, cy, rx, ry)
        self._face(cx, cy, rx, ry)
        if self.cos <= -0.2:
            self.hair_behind()
        self._hat(cx, cy, rx, ry)

    def hair_behind(self) -> None:
        """What hangs down at the back: behind the trunk when we see the face, before it when we see the back."""
        size, cut, hair = self.person.head, self.person.haircut, self.person.hair
        x, y = 0.008 * self.sin, _HEAD
        if cut == "long":
            x -= 0.02 * self.sin
            self.canvas.limb((x, y), (x - 0.012 * self.sin, y + 0.105), 0.056 * size, 0.05 * size, hair)
        elif cut == "ponytail":
            start = (x - self.sin * 0.055 * size, y - 0.02)
            self.canvas.limb(start, (start[0] - self.sin * 0.03, y + 0.085), 0.02, 0.012, hair)

    def _hair(self, cx: float, cy: float, rx: float, ry: float) -> None:
        cut, hair, canvas = self.person.haircut, self.person.hair, self.canvas
        if cut == "bald":
            return
        grow = 1.36 if cut == "afro" else 1.07
        lift = -0.014 if cut == "afro" else -0.004
        canvas.ellipse((cx - 0.008 * self.sin, cy + lift), rx * grow, ry * grow, hair)
        if cut == "bun":
            canvas.ellipse((cx - 0.035 * self.sin, cy - ry * 0.92), 0.027, 0.024, hair)

    def _face(self, cx: float, cy: float, rx: float, ry: float) -> None:
        """Skin over the hair where the face is; a nose in profile, eyes and mouth where they can be seen."""
        visible = (self.cos + 0.5) / 1.5
        if visible <= 0:
            return
        canvas, skin = self.canvas, self.person.skin
        width = rx * 0.86 * math.sqrt(visible)
        x = cx + self.sin * (rx * 0.98 - width)
        if abs(self.sin) > 0.4:
            canvas.ellipse((cx + self.sin * rx * 1.0, cy + 0.016), 0.009, 0.01, skin)
        canvas.ellipse((x, cy + ry * 0.22), width, ry * 0.76, skin)
        dark = mixed(skin, (20, 10, 10), 0.8)
        for angle in (-26, 26):
            a = math.radians(angle)
            if math.cos(a) * self.cos - math.sin(a) * self.sin > 0.15:
                eye = cx + rx * 0.8 * (math.sin(a) * self.cos + math.cos(a) * self.sin)
                canvas.ellipse((eye, cy + 0.006), 0.0062, 0.007, dark, rounded=False)
        if self.cos > 0.1:
            mouth = cx + rx * 0.7 * self.sin
            canvas.ellipse(
                (mouth, cy + ry * 0.58), 0.013 * self.cos, 0.004, mixed(skin, (170, 40, 50), 0.6), rounded=False
            )

    def _hat(self, cx: float, cy: float, rx: float, ry: float) -> None:
        canvas, colour, kind = self.canvas, self.person.hat_colour, self.person.hat
        if kind == "none":
            return
        edge = cy - ry * 0.28
        dome = arc((cx, edge), rx * 1.16, ry * 0.92, 180, 360)
        if kind == "brim":
            canvas.polygon(dome, colour, light=124)
            canvas.ellipse((cx, edge), rx * 1.95, ry * 0.26, mixed(colour, (0, 0, 0), 0.12))
            canvas.line(
                [(cx - rx * 1.1, edge - 0.014), (cx + rx * 1.1, edge - 0.014)], 0.014, mixed(colour, (0, 0, 0), 0.55)
            )
            return
        canvas.polygon(dome, colour, light=118)
        canvas.ellipse((cx + canvas.sun * rx * 0.3, edge - ry * 0.45), rx * 0.6, ry * 0.4, colour)
        if kind == "cap" and self.cos > -0.5:
            reach = self.sin * rx * 1.25
            canvas.ellipse(
                (cx + reach * 0.85, edge + 0.006),
                rx * (0.62 + 0.38 * abs(self.cos)),
                0.013,
                mixed(colour, (0, 0, 0), 0.25),
            )
        elif kind == "beanie":
            band = mixed(colour, (255, 255, 255), 0.35)
            canvas.limb((cx - rx * 0.98, edge), (cx + rx * 0.98, edge), 0.015, 0.015, band)
            canvas.ellipse((cx, edge - ry * 0.95), 0.016, 0.016, band)

    # --- bags

    def bag_parts(self) -> list[tuple[float, Callable[[], None]]]:
        if self.person.bag == "backpack":
            return [(self.depth(0, -0.1), self.backpack), (0.002, self.straps)]
        if self.person.bag == "shoulder bag":
            return [(0.003, self.strap), (self.depth(0.14, 0.02) * 1.2, self.shoulder_bag)]
        return []

    def backpack(self) -> None:
        colour = self.person.bag_colour
        x, _ = self.seen(0, 0, -self.deep - 0.032)
        half = math.hypot(0.078 * self.cos, 0.042 * self.sin) * (0.5 + 0.5 * self.person.girth)
        rows = [(0.2, half * 0.7), (0.22, half * 0.95), (0.4, half), (0.42, half * 0.85)]
        outline = [(x - w, y) for y, w in rows] + [(x + w, y) for y, w in rows[::-1]]
        self.canvas.polygon(outline, colour, light=96)
        inner = [(x - w * 0.72, y + 0.01) for y, w in rows] + [(x + w * 0.72, y - 0.01) for y, w in rows[::-1]]
        self.canvas.light_polygon(inner, 132)
        if self.cos < -0.25:  # the pocket
            pocket = [
                (x - half * 0.62, 0.335),
                (x + half * 0.62, 0.335),
                (x + half * 0.62, 0.4),
                (x - half * 0.62, 0.4),
            ]
            self.canvas.polygon(pocket, mixed(colour, (0, 0, 0), 0.3), light=None)

    def straps(self) -> None:
        for angle in (-42, 42):
            self.patch(angle - 9, angle + 9, _SHOULDER - 0.008, 0.345, self.person.bag_colour)

    def strap(self) -> None:
        colour = mixed(self.person.bag_colour, (0, 0, 0), 0.3)
        front = self.cos >= 0
        for i in range(9):
            share = i / 8
            angle = -45 + 120 * share if front else 225 - 120 * share
            y = _SHOULDER + 0.01 + share * 0.22
            self.patch(angle - 9, angle + 9, y, y + 0.03, colour)

    def shoulder_bag(self) -> None:
        x, y = self.seen(0.125 * (0.6 + 0.4 * self.person.girth), 0.47, 0.01)
        half = 0.03 + 0.034 * abs(self.sin)
        self._box_bag(x, y, half, 0.052)

    def handbag(self, hand: Point) -> None:
        half = 0.022 + 0.036 * abs(self.sin)
        self.canvas.line(
            [(hand[0] - half * 0.6, hand[1] + 0.05), hand, (hand[0] + half * 0.6, hand[1] + 0.05)],
            0.009,
            self.person.bag_colour,
        )
        self._box_bag(hand[0], hand[1] + 0.083, half, 0.042)

    def _box_bag(self, x: float, y: float, half: float, high: float) -> None:
        colour = self.person.bag_colour
        outline = [(x - half * 0.85, y - high), (x + half * 0.85, y - high), (x + half, y + high), (x - half, y + high)]
        self.canvas.polygon(outline, colour, light=104)
        self.canvas.light_polygon([(px * 0.75 + x * 0.25, py * 0.8 + y * 0.2) for px, py in outline], 132)
        flap = [
            (x - half * 0.86, y - high),
            (x + half * 0.86, y - high),
            (x + half * 0.7, y - high * 0.1),
            (x - half * 0.7, y - high * 0.1),
        ]
        self.canvas.polygon(flap, mixed(colour, (0, 0, 0), 0.22), light=None)
