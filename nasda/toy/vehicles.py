"""Toy vehicles: which one it is (`Vehicle`), and how it looks from any side (`draw_vehicle`)."""

import math
from dataclasses import dataclass

import numpy as np

from nasda.toy.canvas import Canvas, Colour, Point, mixed

Solid = tuple[float, float, float]  # x forward, y to the left, z up, in metres

# The ten colours and nine body types of VeRi-776, in the order of its colorID and typeID (both from 1).
COLOURS: dict[str, Colour] = {
    "yellow": (232, 188, 40),
    "orange": (226, 112, 36),
    "green": (40, 122, 78),
    "gray": (128, 130, 134),
    "red": (188, 36, 42),
    "blue": (40, 86, 176),
    "white": (234, 234, 230),
    "golden": (196, 172, 120),
    "brown": (108, 72, 50),
    "black": (40, 40, 46),
}
BODIES = ("sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate")
COLOUR_IDS = {name: number for number, name in enumerate(COLOURS, start=1)}
TYPE_IDS = {name: number for number, name in enumerate(BODIES, start=1)}
TRIMS: tuple[Colour, ...] = ((34, 34, 38), (200, 202, 206), (96, 98, 104))
MARKS = ("none", "stripe", "two-tone", "logo", "hood stripes", "door")
ROOFS = ("plain", "rack", "sunroof", "sign", "coloured", "box")


@dataclass(frozen=True)
class _Shape:
    """A body type: metres, and the cabin's four corners along the length (-0.5 rear, 0.5 front)."""

    length: float
    width: float
    floor: float
    belt: float
    roof: float
    nose: float  # how much lower the bonnet's front is than the belt
    cabin: tuple[float, float, float, float]  # rear bottom, rear top, front top, front bottom
    wheel: float
    axle: tuple[float, float]  # rear and front, as shares of the length


_SHAPES: dict[str, _Shape] = {
    "sedan": _Shape(4.5, 1.8, 0.26, 0.92, 1.45, 0.2, (-0.4, -0.23, 0.08, 0.24), 0.34, (-0.3, 0.3)),
    "suv": _Shape(4.4, 1.92, 0.36, 1.12, 1.82, 0.16, (-0.49, -0.43, 0.09, 0.22), 0.41, (-0.3, 0.3)),
    "van": _Shape(4.9, 1.95, 0.3, 1.2, 2.15, 0.34, (-0.495, -0.485, 0.27, 0.4), 0.36, (-0.3, 0.33)),
    "hatchback": _Shape(3.7, 1.72, 0.26, 0.94, 1.52, 0.2, (-0.49, -0.37, 0.08, 0.26), 0.33, (-0.33, 0.32)),
    "mpv": _Shape(4.5, 1.88, 0.28, 1.02, 1.76, 0.26, (-0.495, -0.44, 0.16, 0.37), 0.35, (-0.31, 0.32)),
    "pickup": _Shape(5.1, 1.92, 0.4, 1.12, 1.82, 0.14, (-0.08, -0.05, 0.13, 0.23), 0.42, (-0.31, 0.32)),
    "bus": _Shape(7.4, 2.4, 0.3, 1.3, 2.9, 0.02, (-0.498, -0.495, 0.485, 0.496), 0.45, (-0.28, 0.32)),
    "truck": _Shape(6.0, 2.2, 0.45, 1.25, 2.15, 0.06, (0.2, 0.21, 0.43, 0.49), 0.45, (-0.3, 0.34)),
    "estate": _Shape(4.7, 1.8, 0.26, 0.92, 1.48, 0.2, (-0.49, -0.41, 0.08, 0.24), 0.34, (-0.3, 0.3)),
}


@dataclass(frozen=True)
class Vehicle:
    """Everything that stays the same from camera to camera. Colours are RGB, 0..255."""

    body: str
    colour_name: str
    stretch: float  # length against the type's usual one
    trim: Colour  # bumpers and sills
    rims: Colour
    spokes: int
    glass: float  # tint, 0 clear .. 1 dark
    mark: str
    mark_colour: Colour
    mark_place: float  # along the side, 0 rear .. 1 front
    roof: str
    roof_colour: Colour
    front_stickers: int  # behind the windscreen, as a bit mask: left, middle, right
    rear_stickers: int
    spare_wheel: bool

    @property
    def colour(self) -> Colour:
        return COLOURS[self.colour_name]


def draw_attributes(rng: np.random.Generator) -> Vehicle:
    """A vehicle drawn at random; the same generator state gives the same vehicle."""

    def pick(count: int, weights: tuple[float, ...]) -> int:
        return int(rng.choice(count, p=np.array(weights) / sum(weights)))

    name = list(COLOURS)[pick(len(COLOURS), (1.2, 1, 1, 2, 2, 2, 2.5, 1, 1, 2.2))]
    others = [colour for other, colour in COLOURS.items() if other != name]
    return Vehicle(
        body=BODIES[pick(len(BODIES), (2.5, 2, 1.4, 1.8, 1, 1.1, 0.8, 1.1, 0.9))],
        colour_name=name,
        stretch=float(rng.uniform(0.94, 1.08)),
        trim=COLOURS[name] if rng.random() < 0.35 else TRIMS[pick(len(TRIMS), (3, 1, 1.5))],
        rims=(198, 200, 204) if rng.random() < 0.65 else (70, 70, 76),
        spokes=int(rng.integers(3, 8)),
        glass=float(rng.uniform(0.0, 1.0)),
        mark=MARKS[pick(len(MARKS), (1.5, 2, 2, 2, 1.5, 1.5))],
        mark_colour=others[int(rng.integers(len(others)))],
        mark_place=float(rng.uniform(0.2, 0.8)),
        roof=ROOFS[pick(len(ROOFS), (2, 1.5, 1.5, 1, 1.7, 1))],
        roof_colour=others[int(rng.integers(len(others)))],
        front_stickers=int(rng.integers(8)),
        rear_stickers=int(rng.integers(8)),
        spare_wheel=bool(rng.random() < 0.5),
    )


def draw_vehicle(canvas: Canvas, vehicle: Vehicle, yaw: float) -> None:
    """Draw `vehicle` so that it fills the picture: `yaw` in degrees, 0 from the front, 90 its left side, 180 its rear.

    Like a detector's box that was made square, it may be drawn up to half as high again as it is.
    """
    _Model(canvas, vehicle, yaw).draw()


_ELEVATION = math.radians(17)  # cameras hang above the road
_CARGO_TOP = 2.75  # metres
_FILL = 0.94  # share of the picture that the vehicle takes, in width or in height
_GLASS_CLEAR, _GLASS_DARK = (112, 138, 152), (26, 32, 42)


class _Model:
    """Convex blocks in three dimensions, faces turned away left out, and details painted on the faces that remain."""

    def __init__(self, canvas: Canvas, vehicle: Vehicle, yaw: float) -> None:
        self.canvas, self.vehicle = canvas, vehicle
        angle = math.radians(yaw)
        self.cos, self.sin = math.cos(angle), math.sin(angle)
        self.low, self.high = math.sin(_ELEVATION), math.cos(_ELEVATION)
        self.shape = _SHAPES[vehicle.body]
        self.length = self.shape.length * vehicle.stretch
        self.half = self.shape.width / 2
        self.scale, self.shift = (1.0, 1.0), (0.0, 0.0)
        self.fit()

    def fit(self) -> None:
        """Choose scale and place so that the vehicle fills the picture."""
        shape, end, side = self.shape, self.length / 2, self.half
        on_top = 0.22 if self.vehicle.roof in ("sign", "box", "rack") else 0.0
        top = _CARGO_TOP if self.vehicle.body == "truck" else shape.roof + on_top
        corners = [(x, y, z) for x in (-end, end) for y in (-side, side) for z in (0.0, shape.belt)]
        corners += [(0.75 * x, 0.85 * y, top) for x in (-end, end) for y in (-side, side)]
        points = [self.seen(corner) for corner in corners]
        left, right = min(x for x, _ in points), max(x for x, _ in points)
        upper, lower = min(y for _, y in points), max(y for _, y in points)
        across, down = _FILL * self.canvas.aspect / (right - left), _FILL / (lower - upper)
        across, down = min(across, 1.35 * down), min(down, 1.45 * across)
        self.scale = (across, down)
        self.shift = (-across * (left + right) / 2, 0.5 - down * (upper + lower) / 2)

    def seen(self, point: Solid) -> Point:
        """Where a point is on the picture."""
        x, y, z = point
        depth = x * self.cos + y * self.sin
        near = 1 + 0.03 * (depth * self.high + z * self.low)  # a little perspective
        return (
            self.scale[0] * near * (y * self.cos - x * self.sin) + self.shift[0],
            self.scale[1] * near * (depth * self.low - z * self.high) + self.shift[1],
        )

    def draw(self) -> None:
        vehicle, end, side = self.vehicle, self.length / 2 * 1.03, self.half * 1.04
        ground = [self.seen((x, y, 0.0)) for x, y in ((-end, -side), (end, -side), (end, side), (-end, side))]
        self.canvas.polygon(ground, (12, 12, 18), opacity=120)
        for y in (-self.half, self.half):
            self.tyres(y)
        self.body()
        if abs(self.sin) > 0.1:
            self.wheels(math.copysign(self.half, self.sin))
        if vehicle.body == "truck" and self.cos > 0:
            self.cargo()
        self.cabin()
        if vehicle.body == "truck" and self.cos <= 0:
            self.cargo()

    # --- faces

    def face(self, corners: list[Solid], colour: Colour, light: int | None = None, *, detail: bool = False) -> bool:
        """Paint a flat face given counter-clockwise from outside; False when it is turned away."""
        points = [self.seen(corner) for corner in corners]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1], strict=True))
        if area >= -1e-9:  # the screen's y points down, which turns counter-clockwise round
            return False
        self.canvas.polygon(points, colour, light=None if detail else (self.lit(corners) if light is None else light))
        return True

    def lit(self, corners: list[Solid]) -> int:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners[0], corners[1], corners[2]
        ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - bx, cy - by, cz - bz
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = math.sqrt(nx * nx + ny * ny + nz * nz) or 1.0
        nx, ny, nz = nx / length, ny / length, nz / length
        across = ny * self.cos - nx * self.sin
        return round(max(70, min(164, 106 + 44 * max(nz, -0.3) + 24 * across * self.canvas.sun)))

    @staticmethod
    def within(corners: list[Solid], u0: float, u1: float, v0: float, v1: float) -> list[Solid]:
        """A part of a four-cornered face: u from its first to its second corner, v from its first to its last."""
        a, b, c, d = corners

        def at(u: float, v: float) -> Solid:
            x, y, z = (
                (1 - v) * ((1 - u) * p + u * q) + v * ((1 - u) * s + u * r)
                for p, q, r, s in zip(a, b, c, d, strict=True)
            )
            return (x, y, z)

        return [at(u0, v0), at(u1, v0), at(u1, v1), at(u0, v1)]

    def side_points(self, sign: int, outline: list[tuple[float, float]], half: float) -> list[Solid]:
        """A side profile (x, z; counter-clockwise seen from the right) at y = sign * half, turned outwards."""
        points = [(x, sign * half, z) for x, z in outline]
        return points if sign < 0 else points[::-1]

    # --- parts

    def body(self) -> None:
        shape, vehicle, half, end = self.shape, self.vehicle, self.half, self.length / 2
        c, b = shape.floor, shape.belt
        hood = shape.cabin[3] * self.length
        n = b - shape.nose
        outline = [
            (-end, c),
            (end * 0.98, c),
            (end, (c + n) / 2),
            (end * 0.97, n),
            (hood, b),
            (-end * 0.98, b),
            (-end, b * 0.85),
        ]
        paint = vehicle.colour
        lower = vehicle.mark_colour if vehicle.mark == "two-tone" else paint
        for sign in (-1, 1):
            if not self.face(self.side_points(sign, outline, half), paint):
                continue
            self.side_details(sign, outline)
        # front
        front = self.quad(end, c, end * 1.0, n, half)
        if self.face(front, lower if vehicle.mark == "two-tone" else paint):
            if vehicle.mark == "two-tone":
                self.face(self.within(front, 0, 1, 0.55, 1), paint, detail=True)
            self.face(self.within(front, 0, 1, 0, 0.3), vehicle.trim, detail=True)
            self.face(self.within(front, 0.27, 0.73, 0.5, 0.86), (28, 28, 32), detail=True)
            self.face(self.within(front, 0.27, 0.73, 0.64, 0.7), (170, 172, 176), detail=True)
            for u in (0.04, 0.78):
                self.face(self.within(front, u, u + 0.18, 0.58, 0.9), (252, 250, 226), detail=True)
            self.face(self.within(front, 0.38, 0.62, 0.12, 0.34), (236, 236, 240), detail=True)
        # bonnet, and behind the cabin
        bonnet = self.quad(end * 0.97, n, hood, b, half)
        if self.face(bonnet, paint) and vehicle.mark == "hood stripes":
            for u in (0.3, 0.56):
                self.face(self.within(bonnet, u, u + 0.14, 0, 1), vehicle.mark_colour, detail=True)
        deck = self.quad(hood, b, -end * 0.98, b, half)
        if self.face(deck, paint) and vehicle.body == "pickup":
            behind = (hood - shape.cabin[0] * self.length) / (hood + end * 0.98)
            self.face(self.within(deck, 0.07, 0.93, behind + 0.02, 0.97), (52, 52, 56), light=84)
        # rear
        rear = self.quad(-end, b * 0.9, -end, c, half)
        if self.face(rear, paint):
            if vehicle.mark == "two-tone":
                self.face(self.within(rear, 0, 1, 0.5, 1), lower, detail=True)
            self.face(self.within(rear, 0, 1, 0.72, 1), vehicle.trim, detail=True)
            for u in (0.02, 0.84):
                self.face(self.within(rear, u, u + 0.14, 0.08, 0.5), (214, 34, 38), detail=True)
                self.face(self.within(rear, u, u + 0.14, 0.38, 0.5), (250, 170, 60), detail=True)
            self.face(self.within(rear, 0.37, 0.63, 0.42, 0.62), (236, 236, 240), detail=True)
        self.face(self.quad(-end * 0.98, b, -end, b * 0.85, half), paint)

    def quad(self, x0: float, z0: float, x1: float, z1: float, half: float, half1: float | None = None) -> list[Solid]:
        """A strip across the vehicle from (x0, z0) to (x1, z1), counter-clockwise from outside."""
        top = half if half1 is None else half1
        return [(x0, -half, z0), (x0, half, z0), (x1, top, z1), (x1, -top, z1)]

    def side_details(self, sign: int, outline: list[tuple[float, float]]) -> None:
        shape, vehicle, end = self.shape, self.vehicle, self.length / 2
        c, b = shape.floor, shape.belt

        def patch(x0: float, x1: float, z0: float, z1: float, colour: Colour) -> None:
            outline = [(x0, z0), (x1, z0), (x1, z1), (x0, z1)]
            self.face(self.side_points(sign, outline, self.half), colour, detail=True)

        low, mid = c + 0.14 * (b - c), c + 0.5 * (b - c)
        if vehicle.mark == "two-tone":
            patch(-end, end * 0.98, c, mid, vehicle.mark_colour)
        patch(-end * 0.99, end * 0.98, c, low, vehicle.trim)
        front, back = shape.cabin[3] * self.length * 0.8, max(shape.cabin[0], -0.36) * self.length
        door = vehicle.colour if vehicle.mark != "door" else vehicle.mark_colour
        middle = (front + back) / 2
        if vehicle.mark == "door":
            patch(middle, front, low, b - 0.02, door)
        if vehicle.mark == "stripe":
            patch(-end * 0.98, end * 0.97, c + 0.5 * (b - c), c + 0.72 * (b - c), vehicle.mark_colour)
        if vehicle.mark == "logo":
            x = -end * 0.75 + vehicle.mark_place * 1.25 * end
            patch(x - 0.36, x + 0.36, c + 0.3 * (b - c), c + 0.84 * (b - c), vehicle.mark_colour)
            patch(
                x - 0.2,
                x + 0.2,
                c + 0.46 * (b - c),
                c + 0.66 * (b - c),
                mixed(vehicle.mark_colour, vehicle.colour, 0.8),
            )
        seam = mixed(vehicle.colour, (0, 0, 0), 0.4)
        for x in (front, middle, back):
            patch(x - 0.018, x + 0.018, low, b, seam)
        for x in (front, middle):
            patch(x - 0.32, x - 0.12, b - 0.2, b - 0.14, seam)
        patch(-end, -end * 0.93, b * 0.68, b * 0.84, (214, 34, 38))
        patch(end * 0.9, end * 0.975, b - shape.nose - 0.18, b - shape.nose - 0.05, (252, 250, 226))
        for axle in shape.axle:
            self.disc(axle * self.length, sign * self.half, shape.wheel, shape.wheel * 1.2, (20, 20, 22), 90)

    def disc(self, x: float, y: float, z: float, radius: float, colour: Colour, light: int, corners: int = 18) -> None:
        ring = [2 * math.pi * i / corners for i in range(corners)]
        points = [self.seen((x + radius * math.cos(a), y, z + radius * math.sin(a))) for a in ring]
        self.canvas.polygon(points, colour, light=light)

    def tyres(self, y: float) -> None:
        """The treads on one side, most of which the body will hide."""
        radius = self.shape.wheel
        for axle in self.shape.axle:
            x = axle * self.length
            self.disc(x, y * 0.98, radius, radius, (24, 24, 26), 80)
            self.disc(x, y * 0.87, radius, radius, (24, 24, 26), 80)
            self.disc(x, y * 0.76, radius, radius, (24, 24, 26), 80)
            tread = [(x, y * 0.76, 0.0), (x, y * 0.98, 0.0), (x, y * 0.98, 2 * radius), (x, y * 0.76, 2 * radius)]
            self.canvas.polygon([self.seen(corner) for corner in tread], (24, 24, 26), light=80)

    def wheels(self, y: float) -> None:
        """The wheels of the side that we see, with rims and spokes."""
        radius, vehicle = self.shape.wheel, self.vehicle
        for axle in self.shape.axle:
            x = axle * self.length
            self.disc(x, y, radius, radius, (30, 30, 32), 112)
            self.disc(x, y, radius, radius * 0.64, vehicle.rims, 132)
            for i in range(vehicle.spokes):
                a = 2 * math.pi * (i + 0.5) / vehicle.spokes
                place = (x + radius * 0.4 * math.cos(a), y, radius + radius * 0.4 * math.sin(a))
                self.disc(*place, radius * 0.13, (40, 40, 44), 110, 8)

    def cabin(self) -> None:
        shape, vehicle, length = self.shape, self.vehicle, self.length
        rear, rear_top, front_top, front = (share * length for share in shape.cabin)
        b, r, low = shape.belt, shape.roof, self.half * 0.97
        high = self.half * (0.8 if vehicle.body not in ("bus", "van", "truck") else 0.93)
        paint, glass = vehicle.colour, mixed(_GLASS_CLEAR, _GLASS_DARK, vehicle.glass)
        rear_face = [(rear, low, b), (rear, -low, b), (rear_top, -high, r), (rear_top, high, r)]
        if self.face(rear_face, paint):
            self.window(rear_face, 0.1, 0.9, 0.12 if vehicle.body != "van" else 0.4, 0.88, glass, vehicle.rear_stickers)
            if vehicle.spare_wheel and vehicle.body == "suv":
                self.spare(rear)
        screen = [(front, -low, b), (front, low, b), (front_top, high, r), (front_top, -high, r)]
        if self.face(screen, paint):
            self.window(screen, 0.07, 0.93, 0.06, 0.92, mixed(_GLASS_CLEAR, _GLASS_DARK, 0.25), vehicle.front_stickers)
        for sign in (-1, 1):
            side = [
                (rear, sign * low, b),
                (front, sign * low, b),
                (front_top, sign * high, r),
                (rear_top, sign * high, r),
            ]
            if sign > 0:
                side = [side[1], side[0], side[3], side[2]]
            if self.face(side, paint):
                self.side_windows(side, sign, glass)
        roof = [(front_top, -high, r), (front_top, high, r), (rear_top, high, r), (rear_top, -high, r)]
        if self.face(roof, vehicle.roof_colour if vehicle.roof == "coloured" else paint):
            if vehicle.roof == "sunroof":
                self.face(self.within(roof, 0.2, 0.8, 0.15, 0.6), (30, 34, 42), detail=True)
            if vehicle.mark == "hood stripes":
                for u in (0.3, 0.56):
                    self.face(self.within(roof, u, u + 0.14, 0, 1), vehicle.mark_colour, detail=True)
        self.on_roof(rear_top, front_top, high)

    def window(
        self, face: list[Solid], u0: float, u1: float, v0: float, v1: float, glass: Colour, stickers: int
    ) -> None:
        self.face(self.within(face, u0, u1, v0, v1), glass, detail=True)
        shine = mixed(glass, (235, 245, 250), 0.3)
        self.face(
            self.within(face, u0 + 0.06 * (u1 - u0), u0 + 0.3 * (u1 - u0), v0 + 0.5 * (v1 - v0), v1), shine, detail=True
        )
        for i, u in enumerate((0.12, 0.44, 0.76)):
            if stickers >> i & 1:
                at = u0 + u * (u1 - u0)
                colour = (244, 240, 220) if i != 1 else self.vehicle.mark_colour
                self.face(
                    self.within(face, at, at + 0.13, v0 + 0.62 * (v1 - v0), v0 + 0.95 * (v1 - v0)), colour, detail=True
                )

    def side_windows(self, side: list[Solid], sign: int, glass: Colour) -> None:
        kind = self.vehicle.body
        count = {"bus": 6, "pickup": 1, "truck": 1, "van": 3, "mpv": 3, "suv": 3, "estate": 3}.get(kind, 2)
        for i in range(count):
            from_front = i if sign > 0 else count - 1 - i
            if kind == "van" and from_front > 0:  # closed at the back
                continue
            u0, u1 = 0.06 + 0.88 * i / count, 0.06 + 0.88 * (i + 1) / count - 0.03
            pane = self.within(side, u0, u1, 0.1, 0.88)
            self.face(pane, glass, detail=True)
            self.face(self.within(pane, 0.1, 0.5, 0.55, 0.95), mixed(glass, (235, 245, 250), 0.22), detail=True)
        if kind == "van" and self.vehicle.mark in ("logo", "stripe"):
            u = (0.62, 0.92) if sign > 0 else (0.08, 0.38)
            self.face(self.within(side, *u, 0.2, 0.75), self.vehicle.mark_colour, detail=True)

    def spare(self, rear: float) -> None:
        radius, z = self.shape.wheel * 0.85, self.shape.belt * 0.95
        for share, colour, light in ((1.0, (28, 28, 30), 96), (0.6, self.vehicle.rims, 128)):
            ring = [2 * math.pi * i / 18 for i in range(18)]
            points = [
                self.seen((rear - 0.18, radius * share * math.cos(a), z + radius * share * math.sin(a))) for a in ring
            ]
            self.canvas.polygon(points, colour, light=light)

    def on_roof(self, rear: float, front: float, half: float) -> None:
        r, kind = self.shape.roof, self.vehicle.roof
        middle = (rear + front) / 2
        if kind == "sign":
            self.block(middle - 0.16, middle + 0.16, 0.42, r, r + 0.22, self.vehicle.roof_colour)
        elif kind == "box":
            self.block(rear + 0.1, front - 0.15, half * 0.62, r + 0.04, r + 0.25, self.vehicle.roof_colour)
        elif kind == "rack":
            for y in (-half * 0.86, half * 0.86):
                self.block(rear + 0.05, front - 0.05, 0.045, r + 0.06, r + 0.14, (60, 60, 64), y)

    def cargo(self) -> None:
        end = self.length / 2
        colour = self.vehicle.roof_colour if self.vehicle.roof != "plain" else (226, 226, 222)
        x1 = self.shape.cabin[0] * self.length - 0.12
        self.block(-end, x1, self.half * 1.02, 0.85, _CARGO_TOP, colour)
        for sign in (-1, 1):
            outline = [(-end * 0.7, 1.4), (x1 - end * 0.3, 1.4), (x1 - end * 0.3, 2.2), (-end * 0.7, 2.2)]
            if self.vehicle.mark != "none":
                self.face(self.side_points(sign, outline, self.half * 1.02), self.vehicle.mark_colour, detail=True)
        doors = self.quad(-end, 2.7, -end, 0.9, self.half)
        self.face(self.within(doors, 0.485, 0.515, 0, 1), mixed(colour, (0, 0, 0), 0.5), detail=True)

    def block(self, x0: float, x1: float, half: float, z0: float, z1: float, colour: Colour, y: float = 0.0) -> None:
        left, right = y + half, y - half
        self.face([(x1, right, z0), (x1, left, z0), (x1, left, z1), (x1, right, z1)], colour)
        self.face([(x0, left, z0), (x0, right, z0), (x0, right, z1), (x0, left, z1)], colour)
        self.face([(x0, right, z0), (x1, right, z0), (x1, right, z1), (x0, right, z1)], colour)
        self.face([(x1, left, z0), (x0, left, z0), (x0, left, z1), (x1, left, z1)], colour)
        self.face([(x1, right, z1), (x1, left, z1), (x0, left, z1), (x0, right, z1)], colour)
