"""From a game engine to a street or a campus: what a camera does to a figure, moved continuously by `gap`.

Every random number is drawn whatever gap and style are: both only scale what it does. So the same shot changes smoothly
from the source's style (gap 0) to the target's (gap 1).
"""

import io
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from nasda.settings import Style
from nasda.toy.canvas import FloatImage

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Strengths:
    """What a style does to its target at gap 1. A 0 leaves out what only the other style has."""

    # what a camera does
    light: float  # to brightness, beyond the engine's 0.08
    cast: float  # to colour, beyond the engine's 0.04
    contrast: float
    common: float  # how far its background moves towards one that all cameras have in common, 0 to 1
    tall: float  # how high the background is that is pressed into the picture's height, against its width
    horizon: float  # where the pavement begins, from the top
    exposure: float  # to the brightness of all images alike
    # what the images of one identity in one camera share
    walk_heading: float  # standard deviation of the direction, in degrees
    walk_light: float  # standard deviation of brightness
    walk_place: float  # how far apart their backgrounds lie
    walk_blur: float  # of those far away, in pixels at a height of 64
    # what differs from shot to shot
    shot_light: float
    shot_place: float
    shot_crop: float  # standard deviation of how far the box misses the figure, in its heights
    mirrored: float  # probability that the background is turned round
    occluded: float  # probability that something is in front, at most 0.4
    haze: float
    blur: tuple[float, float]  # the least, and what may be added, in pixels at a height of 64
    noise: tuple[float, float]
    texture: float  # standard deviation of the light on cloth and ground
    # who walks there
    everyday: float  # share of a real crowd's colours in the clothes


STYLES: dict[Style, Strengths] = {
    "street": Strengths(
        light=0.08,
        cast=0.04,
        contrast=0,
        common=0,
        tall=1,
        horizon=0.76,
        exposure=-0.1,
        walk_heading=0,
        walk_light=0,
        walk_place=0,
        walk_blur=0,
        shot_light=0.08,
        shot_place=0.7,
        shot_crop=0,
        mirrored=0.5,
        occluded=0.4,
        haze=14,
        blur=(0.1, 0.4),
        noise=(2, 6),
        texture=0,
        everyday=0,
    ),
    "campus": Strengths(
        light=-0.02,
        cast=-0.02,
        contrast=0.14,
        common=0.5,
        tall=2,
        horizon=0.4,
        exposure=-0.23,
        walk_heading=25,
        walk_light=0.13,
        walk_place=0.55,
        walk_blur=0.3,
        shot_light=0.16,
        shot_place=0.3,
        shot_crop=0.02,
        mirrored=0,
        occluded=0.1,
        haze=3,
        blur=(0.1, 0.2),
        noise=(1, 3),
        texture=0.2,
        everyday=1,
    ),
}
_MIDDLE = 100  # the brightness that a camera's contrast leaves as it is
_PAVEMENT = np.array((112, 110, 106), dtype=np.float32)  # what the backgrounds of a campus have in common


@dataclass(frozen=True)
class Camera:
    """One camera of a domain: where it looks from and what it does to light and colour."""

    number: int
    yaw: float  # degrees between the direction that people walk in and the camera: 0 front, 90 side, 180 back
    zoom: float  # size of the figure in its box
    light: float  # brightness, in [-1, 1]
    cast: tuple[float, float, float]  # colour cast: red, green, blue, in [-1, 1]
    wall: tuple[int, int, int]  # the plain background of the source's style
    ground: tuple[int, int, int]
    photo: int  # the street's background: a piece of this photograph,
    corner: tuple[float, float]  # from here (shares of it; every shot a little beside),
    share: float  # of this size


def draw_camera(number: int, rng: np.random.Generator) -> Camera:
    """A camera drawn at random. Viewpoints go round with the number, so that every domain has all of them."""
    yaw = (0.0, 180.0, 90.0, 30.0, 270.0, 210.0)[number % 6] + rng.uniform(-15, 15)
    tone = rng.uniform(120, 205)
    wall = np.clip(tone + rng.uniform(-14, 14, 3), 0, 255)
    ground = np.clip(tone * rng.uniform(0.55, 0.8) + rng.uniform(-10, 10, 3), 0, 255)
    warmth, tint = rng.uniform(-1, 1), rng.uniform(-1, 1)
    down, right = rng.uniform(0, 1, 2).tolist()
    return Camera(
        number=number,
        yaw=float(yaw),
        zoom=float(rng.uniform(0.88, 1.0)),
        light=float(rng.uniform(-1, 1)),
        cast=(float(warmth), float(0.5 * tint), float(-warmth)),
        wall=_rgb(wall),
        ground=_rgb(ground),
        photo=int(rng.random() < 0.35),
        corner=(down, right),
        share=float(rng.uniform(0.35, 0.7)),
    )


def _rgb(values: NDArray[np.float64]) -> tuple[int, int, int]:
    red, green, blue = (round(value) for value in values.tolist())
    return red, green, blue


@dataclass(frozen=True)
class Walk:
    """What the images of one identity in one camera share: plain numbers, drawn whatever the gap is."""

    heading: float  # normal, as is the light
    light: float
    place: tuple[float, float]  # beside the camera's usual background, in [-1, 1]
    far: float  # in [0, 1]


def draw_walk(rng: np.random.Generator) -> Walk:
    """One identity's way past one camera."""
    heading, light = rng.standard_normal(2).tolist()
    down, right, far = rng.uniform(0, 1, 3).tolist()
    return Walk(heading, light, (2 * down - 1, 2 * right - 1), far)


@dataclass(frozen=True)
class Conditions:
    """What differs from shot to shot of one camera: plain numbers, drawn whatever the gap is."""

    aside: tuple[float, float]  # how far beside the usual background, in [-1, 1]
    turned: float  # mirrored if it is below the style's probability; occluded likewise
    light: float
    occluded: float
    occluder: tuple[float, float, float]  # side (-1 left, 0 bottom, 1 right), size in [0, 1], tone in [0, 1]
    blur: float
    noise: float
    quality: float
    noise_seed: int


def draw_conditions(rng: np.random.Generator) -> Conditions:
    """The conditions of one shot."""
    numbers = rng.uniform(0, 1, 10)
    return Conditions(
        aside=(float(2 * numbers[0] - 1), float(2 * numbers[1] - 1)),
        turned=float(numbers[3]),
        light=float(2 * numbers[4] - 1),
        occluded=float(numbers[5]),
        occluder=(float(rng.integers(-1, 2)) if numbers[5] < 0.4 else 0.0, float(numbers[6]), float(numbers[7])),
        blur=float(numbers[8]),
        noise=float(numbers[9]),
        quality=float(rng.uniform()),
        noise_seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class View:
    """All that turns a figure into a picture, but for the figure."""

    camera: Camera
    walk: Walk
    conditions: Conditions
    strengths: Strengths
    gap: float


@cache
def _photographs(height: int) -> tuple[Image.Image, ...]:
    """scikit-learn's two photographs, shrunk to what pictures of this height need, and a little greyer, as streets are.

    "china.jpg" and "flower.jpg" are published under CC BY; scikit-learn's datasets/images/README.txt names the authors.
    """
    from sklearn.datasets import load_sample_images  # takes a second to import, and the source does not need it

    shrink = max(1, round(200 / height))
    photographs = (Image.fromarray(image).reduce(shrink) for image in load_sample_images().images)
    return tuple(ImageEnhance.Color(photograph).enhance(0.55) for photograph in photographs)


def _clutter(view: View, height: int, width: int) -> FloatImage:
    """A piece of a photograph, and pavement below."""
    camera, strengths = view.camera, view.strengths
    photograph = _photographs(height)[camera.photo if strengths.common == 0 else 0]
    high = camera.share * photograph.height
    wide = min(photograph.width, high * width / height)
    high = min(photograph.height, high * strengths.tall)
    corner = [usual + strengths.common * (0.5 - usual) for usual in camera.corner]
    down, right = (
        min(1.0, max(0.0, usual + strengths.walk_place * walk + strengths.shot_place * aside))
        for usual, walk, aside in zip(corner, view.walk.place, view.conditions.aside, strict=True)
    )
    left, top = right * (photograph.width - wide), down * (photograph.height - high)
    crop = photograph.resize((width, height), Image.Resampling.BILINEAR, (left, top, left + wide, top + high))
    if view.conditions.turned < strengths.mirrored:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scene = np.asarray(crop, dtype=np.float32)
    horizon = round(strengths.horizon * height)
    texture = 0.75 + scene[horizon:, :, 1:2] / 500
    ground = np.array(camera.ground, dtype=np.float32)
    pavement = (ground + np.float32(strengths.common) * (_PAVEMENT - ground)) * texture
    return np.concatenate([scene[:horizon], 0.25 * scene[horizon:] + 0.75 * pavement])


@lru_cache(maxsize=64)
def _plain(camera: Camera, height: int, width: int) -> FloatImage:
    """A wall and a floor, as a game engine's empty scene has them."""
    background = np.empty((height, width, 3), dtype=np.float32)
    horizon = round(0.8 * height)
    rows = np.linspace(1.06, 0.94, height, dtype=np.float32)[:, None, None]
    background[:horizon] = camera.wall
    background[horizon:] = camera.ground
    background *= rows
    background.flags.writeable = False  # shared by all shots
    return background


def background(view: View, height: int, width: int) -> FloatImage:
    """(H, W, 3) in 0..255: plain at gap 0, a piece of a street at gap 1."""
    plain, gap = _plain(view.camera, height, width), view.gap
    return plain if gap == 0 else (1 - gap) * plain + gap * _clutter(view, height, width)


def compose(figure: tuple[FloatImage, FloatImage, FloatImage], view: View) -> Pixels:
    """Put a figure (colour, opacity, light; see `Canvas.finished`) before its background and take the picture.

    Returns uint8 (H, W, 3).
    """
    colour, opacity, light = figure
    height, width = colour.shape[:2]
    shade = 1 + (0.45 + 0.55 * view.gap) * (light - 1)  # an engine's light is flat, a street's has shadows
    behind = background(view, height, width)
    scene = (1 - opacity) * behind + opacity * colour * shade
    scene = _occlude(scene, behind, view)
    rng = np.random.default_rng(view.conditions.noise_seed)
    noise = rng.standard_normal(scene.shape, dtype=np.float32)
    scene = _expose(_textured(scene, view, rng), view)
    scene = _soften(scene, view)
    least, more = view.strengths.noise
    scene += view.gap * (least + more * view.conditions.noise) * noise
    return np.clip(scene + 0.5, 0, 255).astype(np.uint8)


def _occlude(scene: FloatImage, behind: FloatImage, view: View) -> FloatImage:
    """Something in front, growing in from an edge with the gap: a wall, a pole, a parked car's bonnet."""
    if view.conditions.occluded >= view.strengths.occluded or view.gap == 0:
        return scene
    side, size, tone = view.conditions.occluder
    height, width = scene.shape[:2]
    share = view.gap * (0.08 + 0.17 * size)
    colour = np.float32(40 + 150 * tone) * np.array([1.0, 0.97, 0.92], dtype=np.float32)
    along = np.arange(height, dtype=np.float32) / height if side == 0 else np.arange(width, dtype=np.float32) / width
    if side >= 0:
        along = 1 - along
    pixels = height if side == 0 else width
    cover = np.clip((share - along) * pixels, 0, 1)  # the edge is soft over one pixel, so that it moves smoothly
    cover = cover[:, None, None] if side == 0 else cover[None, :, None]
    texture = 0.7 + behind[::-1, ::-1, :1] / 400  # of the background, turned round
    return (1 - cover) * scene + cover * colour * texture


def _textured(scene: FloatImage, view: View, rng: np.random.Generator) -> FloatImage:
    """Folds of cloth and joints of paving: light that varies over short distances, more downwards than across."""
    if view.strengths.texture == 0 or view.gap == 0:
        return scene
    height, width = scene.shape[:2]
    coarse = Image.fromarray(rng.standard_normal((32, 8), dtype=np.float32))
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    return scene * (1 + np.float32(view.gap * view.strengths.texture) * fine[..., None])


def _expose(scene: FloatImage, view: View) -> FloatImage:
    """Brightness and colour cast of the camera, the walk and the shot."""
    camera, shot, by, gap = view.camera.light, view.conditions.light, view.strengths, view.gap
    brightness = 1 + (0.08 + by.light * gap) * camera + by.shot_light * gap * shot + by.exposure * gap
    brightness += by.walk_light * gap * view.walk.light
    gains = brightness * (1 + (0.04 + by.cast * gap) * np.array(view.camera.cast, dtype=np.float32))
    haze = by.haze * gap * max(0.0, -shot)  # veiling glare lifts the blacks
    contrast = 1 + by.contrast * gap * camera
    return scene * (contrast * gains).astype(np.float32) + np.float32(haze + (1 - contrast) * _MIDDLE)


def _soften(scene: FloatImage, view: View) -> FloatImage:
    least, more = view.strengths.blur
    blur = least + more * view.conditions.blur + view.strengths.walk_blur * view.walk.far
    radius = view.gap * blur * scene.shape[0] / 64
    if radius == 0:
        return scene
    picture = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)


def to_jpeg(image: Pixels, conditions: Conditions, gap: float) -> bytes:
    """The picture as its camera stores it: nearly without loss in an engine, squeezed in the street."""
    quality = round(95 - gap * (15 + 30 * conditions.quality))
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()
