"""What a ranking has to say, by sorting the gallery with exact distances in plain Python; and cases to ask it of."""

import math
from dataclasses import astuple
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from nasda.data.domain import DISTRACTOR, JUNK
from nasda.evaluation import Features, Metrics


class Case(NamedTuple):
    """The arguments of `rank`."""

    query_features: Features
    gallery_features: Features
    query_pids: list[int]
    query_camids: list[int]
    gallery_pids: list[int]
    gallery_camids: list[int]


def random_case(seed: int, queries: int = 12, gallery: int = 60, ties: bool = True) -> Case:
    """A few identities and cameras, distractors, junk; with `ties`, features on a coarse lattice, so that many tie."""
    generator = np.random.default_rng(seed)

    def features(count: int) -> Tensor:
        if ties:
            return torch.from_numpy(generator.integers(-1, 2, (count, 3))).float()
        return torch.from_numpy(generator.standard_normal((count, 16))).float()

    return Case(
        features(queries),
        features(gallery),
        generator.integers(1, 7, queries).tolist(),
        generator.integers(1, 4, queries).tolist(),
        generator.integers(-1, 6, gallery).tolist(),  # identity 6 is in the query only: skipped
        generator.integers(1, 4, gallery).tolist(),
    )


def market_ids(seed: int, queries: int, gallery: int, people: int = 751) -> tuple[np.ndarray, ...]:
    """Query and gallery identities and cameras like Market-1501's: six cameras, 3,819 junk boxes, some 17 images in the
    gallery of each of the people; whatever else there is are distractors. A small gallery has less of everything."""
    generator = np.random.default_rng(seed)
    ends = [min(13_115, 2 * gallery // 3), min(16_934, 5 * gallery // 6)]
    named, junk, _ = np.split(generator.permutation(gallery), ends)
    gallery_pids = np.full(gallery, DISTRACTOR)
    gallery_pids[named] = generator.integers(1, people + 1, len(named))
    gallery_pids[junk] = JUNK
    query_camids, gallery_camids = generator.integers(1, 7, queries), generator.integers(1, 7, gallery)
    return generator.integers(1, people + 1, queries), query_camids, gallery_pids, gallery_camids


def oracle_order(case: Case, query: int) -> list[int]:
    """The valid gallery indices by exact distance, in plain Python; `sorted` is stable."""
    pid, camid = case.query_pids[query], case.query_camids[query]
    valid = [
        index
        for index, (other, other_camid) in enumerate(zip(case.gallery_pids, case.gallery_camids, strict=True))
        if other != -1 and not (other == pid and other_camid == camid)
    ]
    wanted = [Fraction(value) for value in case.query_features[query].tolist()]
    rows = case.gallery_features.tolist()

    def distance(index: int) -> Fraction:
        return sum(((a - Fraction(b)) ** 2 for a, b in zip(wanted, rows[index], strict=True)), Fraction(0))

    return sorted(valid, key=distance)


def oracle_metrics(case: Case) -> Metrics:
    """Both average precisions and the CMC as the definitions say them, position by position down the sorted list."""
    precisions, trapezoids, firsts, skipped = [], [], [], []
    for query, pid in enumerate(case.query_pids):
        hits = [case.gallery_pids[index] == pid for index in oracle_order(case, query)]
        if not any(hits):
            skipped.append(query)
            continue
        firsts.append(hits.index(True) + 1)
        total, area, found, before = 0.0, 0.0, 0, 1.0
        for position, hit in enumerate(hits, start=1):
            found += hit
            precision = found / position
            if hit:
                total += precision
                area += (before + precision) / 2
            before = precision
        precisions.append(total / found)
        trapezoids.append(area / found)
    share = [sum(first <= k for first in firsts) / len(firsts) for k in (1, 5, 10)]
    return Metrics(
        math.fsum(precisions) / len(firsts), math.fsum(trapezoids) / len(firsts), *share, len(firsts), tuple(skipped)
    )


def assert_same(found: Metrics, expected: Metrics) -> None:
    assert astuple(found)[:5] == pytest.approx(astuple(expected)[:5], abs=1e-12)
    assert astuple(found)[5:] == astuple(expected)[5:]
