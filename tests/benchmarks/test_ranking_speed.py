"""How fast a gallery is ranked, and in how much memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from nasda.evaluation import rank
from tests import ranking_from_disk
from tests.oracle import Case, assert_same, market_ids, oracle_metrics


def features(seed: int, count: int, full: bool) -> torch.Tensor:
    """Multiples of 1/64, so that squared distances are exact in float32 and some of them tie; or many, if not full."""
    generator = torch.Generator().manual_seed(seed)
    if full:
        return (torch.randn(count, 64, generator=generator) * 64).round() / 64
    return torch.randint(-1, 2, (count, 4), generator=generator).float()


def test_both_average_precisions_cost_less_than_sorting(race: Callable[..., tuple[Any, Any]], full: bool) -> None:
    """Market-1501's 3,368 queries and 19,732 gallery images: all that is asked of a ranking, against a bare sort."""
    queries, gallery = (3_368, 19_732) if full else (40, 200)
    ids = market_ids(0, queries, gallery, people=751 if full else 20)
    query, images = features(1, queries, full), features(2, gallery, full)

    def sort() -> np.ndarray:
        squares = query.square().sum(dim=1)[:, None] + images.square().sum(dim=1)
        return np.argsort((squares - 2 * query @ images.T).numpy(), axis=1)

    _, found = race(sort, lambda: rank(query, images, *ids), at_least=2.0, rounds=5)
    if not full:
        assert_same(found, oracle_metrics(Case(query, images, *(of.tolist() for of in ids))))


@pytest.mark.timeout(1800)
def test_a_million_images_in_two_gigabytes(benchmark: BenchmarkFixture, full: bool, tmp_path: Path) -> None:
    """3,368 queries against 1,000,000 gallery images with 512 numbers each, read from disk."""
    queries, gallery, dimension = (3_368, 1_000_000, 512) if full else (50, 5_000, 64)
    found = benchmark.pedantic(ranking_from_disk.measure, (tmp_path, queries, gallery, dimension, 256), rounds=1)
    for file in tmp_path.glob("*.npy"):
        file.unlink()  # pytest keeps the folders of its last runs, and these are gigabytes
    metrics = found.pop("metrics")
    benchmark.extra_info |= {
        "seconds_of_ranking": round(found["seconds"]),
        "peak_MB": round(found["peak"] / 1e6),
        "before_ranking_MB": round(found["before"] / 1e6),
    }
    assert metrics["queries"] + len(metrics["skipped"]) == queries
    assert found["peak"] <= 2 * 10**9
