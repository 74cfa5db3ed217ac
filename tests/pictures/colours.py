"""How a colour looks to an eye without green cones, and which lines of a plot such an eye cannot tell apart."""

from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

# Machado, Oliveira, Fernandes (2009), deuteranopia, severity 1; it applies to linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65
APART = 20.0  # ΔE*ab; 2.3 is the least that a trained eye sees of two patches side by side, and lines are thin


def seen(colour: str) -> NDArray[np.float64]:
    """CIELAB coordinates of what an eye without green cones makes of `colour`."""
    encoded = np.array(to_rgb(colour))
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(DEUTERANOPIA @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def alike(figure: Figure) -> list[str]:
    """Pairs of lines in one panel that differ in colour alone, and in that too little. Points that no legend names are
    told apart by where they lie."""
    found = []
    for axes in figure.axes:
        lines = [line for line in axes.lines if line.get_transform() == axes.transData and _means_something(line)]
        for one, other in combinations(lines, 2):
            colours = one.get_color(), other.get_color()
            if to_rgb(colours[0]) == to_rgb(colours[1]) or _form(one) != _form(other):
                continue
            distance = float(np.linalg.norm(seen(colours[0]) - seen(colours[1])))
            if distance < APART:
                found.append(f"{one.get_label()} {colours[0]} and {other.get_label()} {colours[1]}: ΔE {distance:.0f}")
    return found


def _means_something(line: Line2D) -> bool:
    return line.get_linestyle() != "None" or not str(line.get_label()).startswith("_")


def _form(line: Line2D) -> tuple[object, ...]:
    return line.get_linestyle(), str(line._unscaled_dash_pattern), str(line.get_marker())  # type: ignore[attr-defined]
