"""Toy vehicles: which one it is (`Vehicle`), and how a camera sees it (`draw_vehicle`).

A vehicle is a few solids with flat faces in three dimensions; windows, lights, doors and marks are patches on the faces.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nasda.data.toy_canvas import Canvas, Colour, Point, mixed

# The ten colours of VeRi-776 in the order of its colour ids.
COLOURS: dict[str, Colour] = {
    "yellow": (226, 188, 44),
    "orange": (222, 116, 40),
    "green": (52, 124, 76),
    "gray": (134, 138, 144),
    "red": (176, 38, 42),
    "blue": (44, 84, 168),
    "white": (232, 232, 228),
    "golden": (188, 160, 104),
    "brown": (106, 72, 50),
    "black": (40, 40, 46),
}
COLOUR_IDS = {name: number for number, name in enumerate(COLOURS, start=1)}


class Shape(NamedTuple):
    """A body type, in metres: length, width, height of the belt line below the windows, height of the roof, and where
    the cabin's base and roof begin and end along the length (from the middle, forwards positive)."""

    length: float
    width: float
    belt: float
    roof: float
    base: tuple[float, float]
    top: tuple[float, float]
    cargo: tuple[float, float, float] | None = None  # a box behind the cabin: front, rear, height
    rows: int = 2  # side windows


SHAPES: dict[str, Shape] = {
    "sedan": Shape(4.6, 1.8, 0.95, 1.45, (1.05, -1.75), (0.35, -1.0)),
    "suv": Shape(4.5, 1.9, 1.12, 1.8, (1.15, -2.2), (0.6, -2.0)),
    "van": Shape(4.9, 1.95, 1.15, 2.15, (2.05, -2.4), (1.35, -2.38), rows=3),
    "hatchback": Shape(3.9, 1.72, 0.95, 1.5, (0.95, -1.9), (0.35, -1.45)),
    "estate": Shape(4.7, 1.8, 0.95, 1.48, (1.05, -2.25), (0.35, -1.95), rows=3),
    "pickup": Shape(5.0, 1.9, 1.05, 1.75, (1.2, -0.55), (0.65, -0.45)),
    "bus": Shape(6.6, 2.3, 1.15, 2.9, (3.25, -3.25), (3.15, -3.25), rows=5),
    "truck": Shape(5.8, 2.1, 1.05, 2.1, (2.6, 1.15), (2.35, 1.15), cargo=(1.0, -2.85, 2.75), rows=1),
}
TYPE_IDS = {"sedan": 1, "suv": 2, "van": 3, "hatchback": 4, "pickup": 6, "bus": 7, "truck": 8, "estate": 9}
MARKS = ("none", "bonnet stripe", "side stripe", "door sign", "roof rack", "taxi sign", "two-tone", "sunroof")
_WEIGHTS = {"sedan": 5, "suv": 4, "van": 3, "hatchback": 4, "pickup": 2, "bus": 1.5, "truck": 2, "estate": 2}


@dataclass(frozen=True)
class Vehicle:
    """Everything that stays the same from camera to camera. Colours are RGB, 0..255."""

    body: str
    colour_name: str
    colour: Colour
    trim: Colour  # bumpers and sills
    roof: Colour
    glass: Colour
    mark: str
    mark_colour: Colour
    mark_place: float  # in [0, 1]
    rims: Colour
    plate: Colour


def draw_attributes(rng: np.random.Generator) -> Vehicle:
    """A vehicle drawn at random; the same generator state gives the same vehicle."""

    def shade(colour: Colour, amount: float) -> Colour:
        return mixed(colour, (255, 255, 255) if amount > 0 else (0, 0, 0), abs(amount))

    names = list(COLOURS)
    weights = np.array(list(_WEIGHTS.values()))
    body = list(SHAPES)[int(rng.choice(len(SHAPES), p=weights / weights.sum()))]
    name = names[int(rng.choice(len(names), p=np.array((1, 0.8, 0.8, 2, 1.5, 1.5, 3, 0.8, 0.8, 2.5)) / 14.7))]
    colour = shade(COLOURS[name], float(rng.uniform(-0.12, 0.12)))
    mark_colour = COLOURS[names[int(rng.integers(len(names)))]]
    trims = ((34, 34, 38), colour, (176, 178, 182))
    trim = trims[int(rng.choice(3, p=(0.45, 0.35, 0.2)))]
    roof = COLOURS[names[int(rng.integers(len(names)))]] if rng.random() < 0.22 else colour
    glasses = ((52, 64, 76), (96, 118, 132), (24, 26, 30))
    return Vehicle(
        body=body,
        colour_name=name,
        colour=colour,
        trim=trim,
        roof=roof,
        glass=glasses[int(rng.integers(3))],
        mark=MARKS[int(rng.choice(len(MARKS), p=np.array((3, 1.5, 2, 2, 1.5, 1, 2, 1)) / 14))],
        mark_colour=mark_colour,
        mark_place=float(rng.uniform()),
        rims=((186, 188, 192), (60, 62, 66), (222, 222, 222))[int(rng.integers(3))],
        plate=((238, 238, 232), (232, 200, 60), (60, 96, 190))[int(rng.integers(3))],
    )


Corner = tuple[float, float, float]  # to the vehicle's right, upwards, forwards; metres
_CLEARANCE = 0.28
_ELEVATION = math.radians(13)  # cameras hang above the road
_PAPER_WHITE: Colour = (246, 244, 226)


class Face(NamedTuple):
    """Four corners: bottom left, bottom right, top right, top left as seen from outside."""

    corners: tuple[Corner, Corner, Corner, Corner]
    name: str

    def at(self, u: float, v: float) -> Corner:
        """The point at `u` from left to right and `v` from bottom to top, both in [0, 1]."""
        a, b, c, d = self.corners
        return tuple(  # type: ignore[return-value]
            (1 - v) * ((1 - u) * a[i] + u * b[i]) + v * ((1 - u) * d[i] + u * c[i]) for i in range(3)
        )

    def patch(self, left: float, right: float, bottom: float, top: float) -> list[Corner]:
        """A rectangle on the face."""
        return [self.at(left, bottom), self.at(right, bottom), self.at(right, top), self.at(left, top)]


def solid(
    base: tuple[float, float], top: tuple[float, float], low: float, high: float, w0: float, w1: float
) -> list[Face]:
    """A box that may lean inwards, from `base` (front, rear) at height `low` to `top` at `high`; `w0` and `w1` are
    half its width below and above."""
    (f0, r0), (f1, r1) = base, top
    corners: dict[str, tuple[Corner, Corner, Corner, Corner]] = {
        "front": ((w0, low, f0), (-w0, low, f0), (-w1, high, f1), (w1, high, f1)),
        "rear": ((-w0, low, r0), (w0, low, r0), (w1, high, r1), (-w1, high, r1)),
        "right": ((w0, low, r0), (w0, low, f0), (w1, high, f1), (w1, high, r1)),
        "left": ((-w0, low, f0), (-w0, low, r0), (-w1, high, r1), (-w1, high, f1)),
        "top": ((w1, high, f1), (-w1, high, f1), (-w1, high, r1), (w1, high, r1)),
    }
    return [Face(quad, name) for name, quad in corners.items()]


def draw_vehicle(canvas: Canvas, vehicle: Vehicle, yaw: float) -> None:
    """Draw `vehicle` so that it fills the picture: `yaw` in degrees, 0 from the front, 90 from its right side."""
    _Drawing(canvas, vehicle, yaw).draw()


class _Drawing:
    """One view of one vehicle, orthographic, from slightly above."""

    def __init__(self, canvas: Canvas, vehicle: Vehicle, yaw: float) -> None:
        self.canvas, self.vehicle, self.shape = canvas, vehicle, SHAPES[vehicle.body]
        angle = math.radians(yaw)
        self.cos, self.sin = math.cos(angle), math.sin(angle)
        shape = self.shape
        height = shape.cargo[2] if shape.cargo else shape.roof
        across = shape.length * abs(self.sin) + shape.width * abs(self.cos)
        deep = shape.length * abs(self.cos) + shape.width * abs(self.sin)
        tall = height * math.cos(_ELEVATION) + deep * math.sin(_ELEVATION)
        self.scale = min(0.93 / across, 0.8 / tall)
        self.ground = 0.5 + 0.5 * tall * self.scale - 0.5 * deep * math.sin(_ELEVATION) * self.scale

    def depth(self, corner: Corner) -> float:
        """How near a point is to the camera, along the ground."""
        return corner[2] * self.cos + corner[0] * self.sin

    def seen(self, corner: Corner) -> Point:
        """Where a point is on the picture."""
        x, y, z = corner
        across = z * self.sin - x * self.cos
        up = y * math.cos(_ELEVATION) - self.depth(corner) * math.sin(_ELEVATION)
        return across * self.scale, self.ground - up * self.scale

    def visible(self, face: Face) -> bool:
        """Whether a face looks at the camera: its corners then run round the same way as from outside."""
        points = [self.seen(corner) for corner in face.corners]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1], strict=True))
        return area < 0

    def light(self, face: Face) -> int:
        """Tops are bright; of the sides the one towards the sun."""
        if face.name == "top":
            return 146
        sideways = {"right": (1.0, 0.0), "left": (-1.0, 0.0), "front": (0.0, 1.0), "rear": (0.0, -1.0)}[face.name]
        towards_right = sideways[1] * self.sin - sideways[0] * self.cos
        return round(114 + 16 * towards_right * (1 if self.canvas.sun >= 0 else -1))

    def fill(self, corners: list[Corner], colour: Colour, light: int | None = None) -> None:
        self.canvas.polygon([self.seen(corner) for corner in corners], colour, light=light)

    # --- the parts

    def draw(self) -> None:
        self.shadow()
        self.wheels(near=False)
        self.lower_body()
        self.wheels(near=True)
        solids = [self.cabin] if self.shape.cargo is None else [self.cargo, self.cabin]
        if self.cos < 0:  # from behind, the load hides the cabin
            solids.reverse()
        for part in solids:
            part()

    def shadow(self) -> None:
        half, width = self.shape.length / 2, self.shape.width / 2 * 1.04
        corners = [(width, 0.0, half), (-width, 0.0, half), (-width, 0.0, -half), (width, 0.0, -half)]
        self.canvas.polygon([self.seen(corner) for corner in corners], (12, 12, 18), opacity=130)

    def wheels(self, near: bool) -> None:
        shape = self.shape
        radius = 0.36 if shape.length < 5.5 else 0.46
        for side in (-1, 1):
            if (side * self.sin > 0.05) != near:
                continue
            for z in (shape.length * 0.31, -shape.length * 0.3):
                for share, colour in ((1.0, (30, 30, 32)), (0.62, self.vehicle.rims), (0.2, (40, 40, 44))):
                    turn = (2 * math.pi * i / 18 for i in range(18))
                    x = side * (shape.width / 2 + 0.01)
                    ring = [(x, radius + radius * share * math.sin(a), z + radius * share * math.cos(a)) for a in turn]
                    self.fill(ring, colour, light=118)

    def lower_body(self) -> None:
        shape, vehicle = self.shape, self.vehicle
        half, width = shape.length / 2, shape.width / 2
        for face in self.facing(
            solid((half, -half), (half * 0.97, -half * 0.97), _CLEARANCE, shape.belt, width, width)
        ):
            light = self.light(face)
            self.fill(list(face.corners), vehicle.colour, light)
            if face.name == "top":
                self.bonnet(face)
                continue
            if vehicle.mark == "two-tone":
                self.fill(face.patch(0, 1, 0, 0.55), vehicle.mark_colour)
            self.fill(face.patch(0, 1, 0, 0.2), vehicle.trim)
            if face.name in ("left", "right"):
                self.flank(face)
            else:
                self.end(face)

    def facing(self, faces: list[Face]) -> Iterator[Face]:
        return (face for face in faces if self.visible(face))

    def bonnet(self, face: Face) -> None:
        if self.vehicle.mark == "bonnet stripe":
            for left in (0.3, 0.56):
                self.fill(face.patch(left, left + 0.14, 0, 1), self.vehicle.mark_colour)
        if self.vehicle.body == "pickup":
            self.fill(face.patch(0.08, 0.92, 0.62, 0.97), mixed(self.vehicle.colour, (0, 0, 0), 0.65))

    def flank(self, face: Face) -> None:
        """Wheel arches, doors and what is painted on them; the front is on the right of the right flank."""
        vehicle, line = self.vehicle, mixed(self.vehicle.colour, (0, 0, 0), 0.45)
        for u in (0.19, 0.81):
            arch = [face.at(u + 0.105 * math.cos(a), 0.62 * math.sin(a)) for a in np.linspace(0, math.pi, 12)]
            self.fill(arch, (24, 24, 26))
        if vehicle.mark == "side stripe":
            bottom = 0.42 + 0.2 * vehicle.mark_place
            self.fill(face.patch(0, 1, bottom, bottom + 0.16), vehicle.mark_colour)
        if vehicle.mark == "door sign":
            left = 0.34 + 0.2 * vehicle.mark_place
            self.fill(face.patch(left, left + 0.17, 0.32, 0.86), vehicle.mark_colour)
        for u in (0.36, 0.52, 0.68):
            self.fill(face.patch(u, u + 0.008, 0.2, 1), line)

    def end(self, face: Face) -> None:
        """Lights, grille and number plate."""
        front = face.name == "front"
        for left in (0.03, 0.81):
            self.fill(face.patch(left, left + 0.16, -0.42, 0), (30, 30, 32))  # the tyres below the bumper
        lamp: Colour = _PAPER_WHITE if front else (206, 34, 34)
        for left in (0.05, 0.77):
            self.fill(face.patch(left, left + 0.18, 0.56, 0.82), lamp, light=140)
        if front:
            self.fill(face.patch(0.3, 0.7, 0.5, 0.78), (36, 36, 40))
            if self.vehicle.mark == "bonnet stripe":
                for left in (0.3, 0.56):
                    self.fill(face.patch(left, left + 0.14, 0.78, 1), self.vehicle.mark_colour)
        self.fill(face.patch(0.37, 0.63, 0.22, 0.4), self.vehicle.plate, light=132)

    def cabin(self) -> None:
        shape, vehicle = self.shape, self.vehicle
        width = shape.width / 2
        narrow = width * (0.97 if vehicle.body in ("bus", "van", "truck") else 0.8)
        for face in self.facing(solid(shape.base, shape.top, shape.belt, shape.roof, width * 0.97, narrow)):
            roof = face.name == "top"
            self.fill(list(face.corners), vehicle.roof if roof else vehicle.colour, self.light(face))
            if roof:
                self.roof(face)
            elif face.name in ("front", "rear"):
                self.fill(face.patch(0.07, 0.93, 0.12, 0.92), vehicle.glass, light=136)
                self.fill(face.patch(0.12, 0.34, 0.3, 0.88), mixed(vehicle.glass, (255, 255, 255), 0.18))
            else:
                self.side_windows(face)

    def side_windows(self, face: Face) -> None:
        shape, vehicle = self.shape, self.vehicle
        closed = vehicle.body == "van" and vehicle.mark == "door sign"  # a tradesman's van has a sign, not windows
        step = 0.92 / shape.rows
        for row in range(shape.rows):
            nearest_front = row == (shape.rows - 1 if face.name == "right" else 0)
            if closed and not nearest_front:
                continue
            left = 0.04 + row * step
            self.fill(face.patch(left + 0.012, left + step - 0.012, 0.1, 0.84), vehicle.glass, light=134)
        if closed:
            left = 0.12 if face.name == "right" else 0.42
            self.fill(face.patch(left, left + 0.45, 0.1, 0.8), vehicle.mark_colour)

    def roof(self, face: Face) -> None:
        vehicle = self.vehicle
        if vehicle.mark == "bonnet stripe":
            for left in (0.3, 0.56):
                self.fill(face.patch(left, left + 0.14, 0, 1), vehicle.mark_colour)
        elif vehicle.mark == "sunroof":
            self.fill(face.patch(0.2, 0.8, 0.15, 0.5), vehicle.glass)
        elif vehicle.mark == "roof rack":
            self.box(face, 0.06, 0.94, 0.1, 0.95, 0.1, mixed(vehicle.mark_colour, (60, 60, 60), 0.5))
        elif vehicle.mark == "taxi sign":
            self.box(face, 0.3, 0.7, 0.42, 0.58, 0.22, vehicle.mark_colour)

    def box(self, face: Face, left: float, right: float, near: float, far: float, high: float, colour: Colour) -> None:
        """Something that stands on the roof."""
        (x0, y, z0), _, (x1, _, z1), _ = face.patch(left, right, near, far)
        for side in self.facing(solid((z0, z1), (z0, z1), y, y + high, abs(x0), abs(x1))):
            self.fill(list(side.corners), colour, self.light(side))

    def cargo(self) -> None:
        assert self.shape.cargo is not None
        front, rear, high = self.shape.cargo
        width, vehicle = self.shape.width / 2, self.vehicle
        for face in self.facing(solid((front, rear), (front, rear), self.shape.belt - 0.25, high, width, width)):
            self.fill(list(face.corners), mixed(vehicle.roof, (255, 255, 255), 0.25), self.light(face))
            if face.name in ("left", "right") and vehicle.mark in ("door sign", "side stripe", "two-tone"):
                bottom = 0.2 + 0.4 * vehicle.mark_place
                self.fill(face.patch(0.08, 0.92, bottom, bottom + 0.3), vehicle.mark_colour)
            if face.name == "rear":
                self.fill(face.patch(0.49, 0.51, 0.03, 0.97), (60, 60, 64))
