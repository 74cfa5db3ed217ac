"""What a difference is made of: the main effect of each factor of a study, with and without the networks' size.

A study's runs differ in factors: space, data (S or S+R), statistics of α, loss of α, selection. A factor's main effect
is the mean difference between two of its levels, over runs that are equal in all other factors, in world and in seed.
The world is the unit: seeds and settings of a world are averaged before the interval and the test.

A factor may work through size: its networks may just be larger. So the effect is estimated once more with size held
fixed, by ordinary least squares on the same runs:

    score = a[world, other factors] + δ · [second level] + β · log₂(multiply-adds) + error

δ is the adjusted effect, β the gain of a network twice as large. Intervals are Student's t with the standard error of
the jackknife that leaves out one world at a time: so runs of one world need not be independent.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nasda.study.experiments import table_text
from nasda.study.rows import Row
from nasda.study.statistics import LEVEL, Comparison, by_world, compare

FACTORS = ("space", "data", "statistics", "loss", "selection")

Entry = Mapping[str, Any]
Values = NDArray[np.float64]


class Contrast(NamedTuple):
    """Two levels of a factor; its effect is the second's score less the first's."""

    factor: str
    first: str
    second: str


class Estimate(NamedTuple):
    """A coefficient and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """What `effect` finds."""

    contrast: Contrast
    runs: int  # pairs of runs
    paired: Comparison | None  # over worlds; None with fewer than two
    adjusted: Estimate | None  # for size; None where that can't be estimated
    slope: Estimate | None  # of a network twice as large
    left_out: tuple[str, ...]  # runs without their counterpart


def entries_of(scores: Mapping[str, Sequence[Entry]], rows: Sequence[Row]) -> list[Entry]:
    """A study's entries, by the names of their rows, with the `FACTORS` of those rows that have them."""
    levels = {row.name: row.factors for row in rows}
    return [{**entry, **found} for name, of_row in scores.items() if (found := levels.get(name)) for entry in of_row]


class _Pair(NamedTuple):
    """Runs that differ in one factor; random cells of one seed are averaged."""

    world: int
    others: tuple[Any, ...]  # the levels of the other factors
    seed: int
    scores: tuple[float, float]  # of the first level, of the second
    sizes: tuple[float, float]  # log₂ of multiply-adds


def effect(entries: Sequence[Entry], contrast: Contrast, score: str = "mAP_source") -> Effect:
    """The main effect of a factor. Each entry has `FACTORS`, world, seed, multiply_adds and the score."""
    pairs, left_out = _pairs(entries, contrast, score)
    first, second = ([{"world": p.world, "seed": p.seed, score: p.scores[level]} for p in pairs] for level in (0, 1))
    paired = compare(by_world(second, score), by_world(first, score), "world")
    adjusted, slope = _adjusted(pairs)
    return Effect(contrast, len(pairs), paired, adjusted, slope, left_out)


def _pairs(entries: Sequence[Entry], contrast: Contrast, score: str) -> tuple[list[_Pair], tuple[str, ...]]:
    """The pairs, and what has only one level although the same settings have both elsewhere."""
    others = [factor for factor in FACTORS if factor != contrast.factor]
    found: dict[tuple[Any, ...], dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        key = (tuple(entry[factor] for factor in others), entry["world"], entry["seed"])
        found[key][entry[contrast.factor]].append((entry[score], np.log2(entry["multiply_adds"])))
    levels = contrast.first, contrast.second
    pairs = []
    for (settings, world, seed), of_level in sorted(found.items()):
        if all(level in of_level for level in levels):
            scores, sizes = zip(*(np.mean(of_level[level], axis=0).tolist() for level in levels), strict=True)
            pairs.append(_Pair(world, settings, seed, scores, sizes))
    left_out = [
        f"{', '.join(map(str, settings))}, world {world}, seed {seed}: no {contrast.factor} {level}"
        for (settings, world, seed), of_level in sorted(found.items())
        for level, other in (levels, levels[::-1])
        if level not in of_level and other in of_level and settings in {pair.others for pair in pairs}
    ]
    return pairs, tuple(left_out)


def _adjusted(pairs: Sequence[_Pair]) -> tuple[Estimate | None, Estimate | None]:
    """δ and β of the module's formula, or None for both if they can't be estimated."""
    worlds = sorted({pair.world for pair in pairs})
    if len(worlds) < 3:
        return None, None
    whole = _least_squares(pairs)
    without = [_least_squares([pair for pair in pairs if pair.world != world]) for world in worlds]
    if whole is None or any(found is None for found in without):
        return None, None
    found, n = np.array(without), len(worlds)
    error = np.sqrt((n - 1) / n * ((found - found.mean(axis=0)) ** 2).sum(axis=0))
    margin = stats.t.ppf(1 - LEVEL / 2, n - 1) * error
    delta, beta = (Estimate(*map(float, values)) for values in zip(whole, whole - margin, whole + margin, strict=True))
    return delta, beta


def _least_squares(pairs: Sequence[_Pair]) -> Values | None:
    """δ and β: (2,). None if the networks of a level differ in nothing else than the level."""
    groups: dict[Any, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.world, pair.others].append(pair)
    rows = []  # second level, size, score; less their group's mean, which takes the place of a[…]
    for group in groups.values():
        of_group = np.array([(level, p.sizes[level], p.scores[level]) for p in group for level in (0, 1)])
        rows.append(of_group - of_group.mean(axis=0))
    table = np.concatenate(rows)
    found, _, rank, _ = np.linalg.lstsq(table[:, :2], table[:, 2])
    return found if rank == 2 else None


def contrasts(entries: Sequence[Entry]) -> list[Contrast]:
    """For each factor its first level, in the order of the entries, against each other level."""
    levels = {factor: list(dict.fromkeys(entry[factor] for entry in entries)) for factor in FACTORS if entries}
    return [Contrast(factor, first, other) for factor, (first, *others) in levels.items() for other in others]


def markdown(entries: Sequence[Entry], wanted: Sequence[Contrast] | None = None, score: str = "mAP_source") -> str:
    """The main effects as a Markdown table, in points of 0.01, and below it what was left out."""
    effects = [effect(entries, contrast, score) for contrast in wanted or contrasts(entries)]
    header = ["factor", "worlds", "pairs", "effect", "p", "at equal size", "twice the size"]
    lines, said = [], []
    for found in effects:
        name = f"{found.contrast.factor}: {found.contrast.second} − {found.contrast.first}"
        if found.paired is None:
            said.append(
                f"- {name}: fewer than two worlds have both with all other factors equal, so nothing can be said"
            )
        else:
            paired = found.paired
            lines.append(
                [
                    name,
                    str(paired.pairs),
                    str(found.runs),
                    _points(Estimate(paired.mean, paired.low, paired.high)),
                    f"{paired.p:.3g}",
                    _points(found.adjusted),
                    _points(found.slope),
                ]
            )
        said += [f"- {name}, left out: {what}" for what in found.left_out]
    return "\n".join([table_text(header, lines), "", *said]).strip()


def _points(found: Estimate | None) -> str:
    if found is None:
        return ""
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
