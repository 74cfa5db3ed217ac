"""`nasda.evaluation`: the protocol to the letter, equal to a sort, and the same to the bit in any memory."""

import colorsys
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from nasda.data.colours import colour_histogram, hsv
from nasda.data.domain import Sample
from nasda.data.images import normalize
from nasda.errors import NasdaError
from nasda.evaluation import (
    Features,
    Metrics,
    average_precision,
    average_precision_trapezoid,
    evaluate,
    extract,
    floors,
    for_statistics,
    metrics,
    random_features,
    rank,
    reestimate_statistics,
)
from nasda.fast import ranking
from nasda.fast.features import FeatureFile
from nasda.fast.ranking import positive_ranks, ranked_gallery
from nasda.genotypes import PRIMITIVES, random_genotype
from nasda.networks import DerivedNetwork
from nasda.settings import SpaceSettings
from tests import ranking_from_disk
from tests.marks import needs_cuda
from tests.oracle import Case, assert_same, oracle_metrics, oracle_order, random_case


class TestOracle:
    @pytest.mark.parametrize("ties", [True, False])
    @pytest.mark.parametrize("seed", range(25))
    def test_rank_equals_a_stable_sort(self, seed: int, ties: bool) -> None:
        case = random_case(seed, ties=ties)
        assert_same(rank(*case), oracle_metrics(case))

    @pytest.mark.parametrize("seed", range(10))
    def test_positive_ranks_are_positions_in_the_sorted_list(self, seed: int) -> None:
        case = random_case(seed)
        for query, ranks in enumerate(positive_ranks(*case)):
            order = oracle_order(case, query)
            hits = [place for place, index in enumerate(order, 1) if case.gallery_pids[index] == case.query_pids[query]]
            assert ranks.tolist() == hits

    @pytest.mark.parametrize("seed", range(10))
    def test_ranked_gallery_is_the_head_of_the_sorted_list(self, seed: int) -> None:
        case = random_case(seed)
        for query in range(len(case.query_pids)):
            order = oracle_order(case, query)
            for top in (0, 1, 10, 1000):
                assert ranked_gallery(*case, query=query, top=top, memory=2_000).tolist() == order[:top]

    def test_agrees_with_scikit_learn(self) -> None:
        case = random_case(0, queries=40, gallery=200, ties=False)
        for query, ranks in enumerate(positive_ranks(*case)):
            if not len(ranks):
                continue
            order = oracle_order(case, query)
            hits = [case.gallery_pids[index] == case.query_pids[query] for index in order]
            expected = average_precision_score(hits, -np.arange(len(order)))
            assert average_precision(ranks) == pytest.approx(expected, abs=1e-12)


class TestProtocol:
    def test_by_hand(self) -> None:
        """Query 7 under camera 1 at 0; the gallery on a line, nearest first: own camera, junk, distractor, hit, …"""
        gallery = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
        pids, camids = [7, -1, 0, 7, 8, 7], [1, 2, 2, 2, 1, 3]
        found = rank(torch.zeros(1, 1), gallery, [7], [1], pids, camids)
        expected_ap = (1 / 2 + 2 / 4) / 2
        expected_trapezoid = ((0 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2
        assert_same(found, Metrics(expected_ap, expected_trapezoid, 0.0, 1.0, 1.0, 1))

    def test_the_queries_own_copy_in_the_gallery_does_not_count(self) -> None:
        """VeRi-776: each query file is in the gallery too. Without the camera rule rank-1 would be 1."""
        features = torch.eye(4)
        pids, camids = [1, 1, 2, 2], [1, 2, 1, 2]
        found = rank(features, features, pids, camids, pids, camids)
        assert found.rank1 < 1
        assert_same(found, oracle_metrics(Case(features, features, pids, camids, pids, camids)))

    def test_copies_tie_exactly(self) -> None:
        """Copies of one vector lie at one distance: the gallery's order decides, wherever in a matrix they stand."""
        generator = torch.Generator().manual_seed(0)
        vector = torch.nn.functional.normalize(torch.randn(1, 509, generator=generator))
        query = torch.nn.functional.normalize(torch.randn(3, 509, generator=generator))
        pids = [2] * 100 + [1] + [2] * 100
        for memory in (ranking.MEMORY, 100_000, 1):
            ranks = positive_ranks(query, vector.expand(201, -1), [1] * 3, [1] * 3, pids, [2] * 201, memory=memory)
            assert [of_query.tolist() for of_query in ranks] == [[101]] * 3

    def test_scale_and_precision_do_not_matter(self) -> None:
        case = random_case(3, ties=False)
        expected = rank(*case)
        for factor in (2.0**-40, 2.0**40):
            scaled = case._replace(
                query_features=case.query_features * factor, gallery_features=case.gallery_features * factor
            )
            assert rank(*scaled) == expected
        assert rank(case.query_features.double(), case.gallery_features.double(), *case[2:]) == expected

    def test_features_that_are_all_zero_tie(self) -> None:
        found = rank(torch.zeros(1, 8), torch.zeros(4, 8), [1], [1], [2, 2, 1, 2], [2, 2, 2, 2])
        assert found.mAP == 1 / 3

    def test_ids_may_be_arrays_or_tensors(self) -> None:
        case = random_case(1)
        assert rank(*case[:2], *map(np.array, case[2:])) == rank(*case) == rank(*case[:2], *map(torch.tensor, case[2:]))

    @pytest.mark.parametrize("kind", ["array", "read-only array", "mapped array", "file"])
    def test_features_may_be_arrays_or_files(self, kind: str, tmp_path: Path) -> None:
        case = random_case(1)

        def other(features: Tensor) -> Features:
            path = tmp_path / f"{len(features)}.npy"
            FeatureFile.write(path, len(features), features.split(7))
            if kind == "array":
                return features.numpy()
            if kind == "read-only array":
                return np.broadcast_to(features.numpy(), features.shape)
            return FeatureFile(path) if kind == "file" else np.load(path, mmap_mode="r")

        same = case._replace(query_features=other(case.query_features), gallery_features=other(case.gallery_features))
        assert rank(*same, memory=10_000) == rank(*case)
        assert ranked_gallery(*same, query=2, top=9).tolist() == oracle_order(case, 2)[:9]

    def test_features_are_only_read(self) -> None:
        case = random_case(1, ties=False)
        doubles = case._replace(
            query_features=case.query_features.double().requires_grad_(),
            gallery_features=case.gallery_features.double().numpy(),
        )
        before = doubles.query_features.detach().clone(), doubles.gallery_features.copy()
        assert rank(*doubles) == rank(*case)
        assert torch.equal(doubles.query_features, before[0])
        assert np.array_equal(doubles.gallery_features, before[1])

    def test_bfloat16_features(self) -> None:
        case = random_case(1)
        assert rank(case.query_features.bfloat16(), case.gallery_features.bfloat16(), *case[2:]) == rank(*case)


class TestMemory:
    SETTINGS = (1, 1_000, 10_000, 50_000, 300_000, ranking.MEMORY)

    @pytest.mark.parametrize("ties", [True, False])
    def test_any_memory_gives_the_same_to_the_bit(self, ties: bool) -> None:
        case = random_case(5, queries=30, gallery=300, ties=ties)
        results = [rank(*case, memory=memory) for memory in self.SETTINGS]
        assert all(result == results[0] for result in results)
        tops = [ranked_gallery(*case, query=3, top=50, memory=memory).tolist() for memory in self.SETTINGS]
        assert all(top == tops[0] for top in tops)

    @pytest.mark.parametrize("ties", [True, False])
    @pytest.mark.parametrize("memory", [200_000, ranking.MEMORY])
    def test_any_number_of_threads_gives_the_same_to_the_bit(self, ties: bool, memory: int) -> None:
        case = random_case(7, queries=40, gallery=2_000, ties=ties)
        threads = torch.get_num_threads()
        try:
            found = []
            for number in (1, 2):
                torch.set_num_threads(number)
                found.append(rank(*case, memory=memory))
        finally:
            torch.set_num_threads(threads)
        assert found[0] == found[1]

    @pytest.mark.parametrize("ties", [True, False])
    @pytest.mark.parametrize("memory", [2_000, 20_000, ranking.MEMORY])
    def test_counting_as_on_a_gpu_gives_the_same(
        self, ties: bool, memory: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case = random_case(8, queries=30, gallery=300, ties=ties)
        expected = [ranks.tolist() for ranks in positive_ranks(*case, memory=memory)]

        def at_once(nearer: Tensor, tile: ranking._Tile, matches: ranking._Matches, thresholds: Tensor) -> None:
            ranking._count_nearer_at_once(nearer, *tile, matches, thresholds)

        monkeypatch.setattr(ranking, "_count_nearer", at_once)
        assert [ranks.tolist() for ranks in positive_ranks(*case, memory=memory)] == expected

    @needs_cuda
    @pytest.mark.parametrize("ties", [True, False])
    def test_a_gpu_gives_the_same(self, ties: bool) -> None:
        case = random_case(9, queries=300, gallery=3_000, ties=ties)
        assert rank(*case, device="cuda", memory=10**6) == rank(*case)

    def test_a_device_without_float64_leaves_it_to_the_cpu(self) -> None:
        case = random_case(1)
        assert rank(*case, device="mps") == rank(*case)

    def test_distances_are_exact(self) -> None:
        """They are whole numbers below 2⁵³, as Python's unbounded integers confirm."""
        case = random_case(6, queries=5, gallery=20, ties=False)
        test = ranking._TestSet.checked(*case[2:])
        grid = ranking._Grid.checked(*case[:2], test, ranking.MEMORY, "cpu")
        queries = grid.rounded(case.query_features, slice(0, 5)).long().tolist()
        gallery = grid.rounded(case.gallery_features, test.kept).long().tolist()
        (tile,) = grid.tiles()
        expected = [[sum(b * b - 2 * a * b for a, b in zip(q, g, strict=True)) for g in gallery] for q in queries]
        assert tile.distances.tolist() == expected
        positives = test.matches().positives
        alone = [expected[query][place] for query, place in zip(positives.query, positives.place, strict=True)]
        assert grid.distances_of(positives).tolist() == alone
        assert 2**24 <= max(math.sqrt(sum(a * a for a in row)) for row in queries + gallery) < 2**26

    def test_stays_within_the_setting(self, tmp_path: Path) -> None:
        """205 MB of features are ranked in 32 MiB, whatever else the process needs being there before."""
        found = ranking_from_disk.measure(tmp_path, queries=200, gallery=200_000, dimension=256, memory=32)
        assert found["peak"] - found["before"] < 48 * 2**20  # the setting, ids, and the positives' ranks

    @pytest.mark.parametrize("dimension", [1, 64, 2048])
    @pytest.mark.parametrize("memory", [10**6, 10**8, 10**10])
    def test_chunks_fit(self, memory: int, dimension: int) -> None:
        queries, gallery = ranking._chunk_sizes(memory, dimension)
        assert 16 * dimension * (queries + gallery) + 24 * queries * gallery <= memory
        assert 1 <= queries <= 256


class TestAveragePrecision:
    @pytest.mark.parametrize("seed", range(20))
    def test_the_two_differ_by_the_closed_form(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        ranks = np.sort(generator.choice(np.arange(1, 60), generator.integers(1, 30), replace=False))
        r, j = ranks[ranks > 1], np.arange(1, len(ranks) + 1)[ranks > 1]
        expected = ((r - j) / (r * (r - 1))).sum() / (2 * len(ranks))
        found = average_precision(ranks) - average_precision_trapezoid(ranks)
        assert found == pytest.approx(expected, abs=1e-12)
        assert found >= 0

    def test_the_worst_case(self) -> None:
        assert average_precision(np.array([2])) == 0.5
        assert average_precision_trapezoid(np.array([2])) == 0.25

    @pytest.mark.parametrize("count", [1, 2, 17])
    def test_a_perfect_ranking_scores_one(self, count: int) -> None:
        ranks = np.arange(1, count + 1)
        assert average_precision(ranks) == average_precision_trapezoid(ranks) == 1.0


class TestMetrics:
    FOUND = metrics([np.array([1, 3]), np.array([], dtype=int), np.array([6]), np.array([10])])

    def test_cmc_and_skipped(self) -> None:
        assert (self.FOUND.rank1, self.FOUND.rank5, self.FOUND.rank10) == (1 / 3, 1 / 3, 1.0)
        assert self.FOUND.queries == 3
        assert self.FOUND.skipped == (1,)

    def test_one_line_in_percent(self) -> None:
        assert str(self.FOUND) == (
            "mAP 36.67% (trapezoid 30.83%), rank-1 33.33%, rank-5 33.33%, rank-10 100.00%, "
            "3 queries (1 skipped: no positive)"
        )

    def test_goes_through_json(self) -> None:
        values = json.loads(json.dumps(self.FOUND.to_dict()))
        assert Metrics(**values | {"skipped": tuple(values["skipped"])}) == self.FOUND


class TestErrors:
    CASE = random_case(0)

    def message(self, **changes: object) -> str:
        with pytest.raises(NasdaError) as caught:
            rank(*self.CASE._replace(**changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    @pytest.mark.parametrize("which", ["query", "gallery"])
    def test_features_that_are_not_finite(self, which: str, value: float) -> None:
        features = getattr(self.CASE, f"{which}_features").clone()
        features[[2, 5], 1] = value
        assert f"2 of {len(features)} {which} features are not finite" in self.message(
            **{f"{which}_features": features}
        )

    def test_shapes_that_do_not_fit(self) -> None:
        assert "expected (12, D)" in self.message(query_features=torch.zeros(11, 3))
        assert "expected (60, D)" in self.message(gallery_features=torch.zeros(60))
        assert "query features have 4 dimensions, gallery features 3" in self.message(query_features=torch.zeros(12, 4))
        assert "one of each per image" in self.message(query_camids=[1])

    @pytest.mark.parametrize("pid", [0, -1])
    def test_a_query_without_an_identity(self, pid: int) -> None:
        assert f"query 2 has id {pid}" in self.message(query_pids=[1, 2, pid] + [1] * 9)

    def test_nothing_to_compare(self) -> None:
        assert "the query is empty" in self.message(query_pids=[], query_camids=[])
        assert "the gallery is empty" in self.message(gallery_pids=[], gallery_camids=[])
        assert "every gallery image is junk" in self.message(gallery_pids=[-1] * 60)

    def test_no_positives_name_the_cause(self) -> None:
        one_camera = self.message(query_camids=[3] * 12, gallery_camids=[3] * 60)
        assert "one camera only (3)" in one_camera
        assert "share no identity (query ids 50 to 50" in self.message(query_pids=[50] * 12)
        own_camera = self.message(
            query_pids=[1] * 12, query_camids=[1] * 12, gallery_pids=[1, 2] * 30, gallery_camids=[1, 2] * 30
        )
        assert "query's own camera only" in own_camera
        with pytest.raises(NasdaError, match="nothing to score"):
            metrics([np.array([])])

    def test_no_such_query(self) -> None:
        for query in (-1, 12):
            with pytest.raises(NasdaError, match=f"no query {query}: there are 12"):
                ranked_gallery(*self.CASE, query=query, top=3)

    def test_a_query_without_positives_still_has_a_rank_list(self) -> None:
        case = self.CASE._replace(query_pids=[50] * 12)
        assert ranked_gallery(*case, query=0, top=5).tolist() == oracle_order(case, 0)[:5]


class Network(torch.nn.Module):
    """Row means of each channel through BatchNorm: tells training mode from evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3 * 8)
        self.frozen = torch.nn.BatchNorm1d(3 * 8).eval()

    def features(self, images: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        return self.frozen(self.norm(images.mean(dim=3).flatten(1)))


def random_images(count: int, seed: int = 0, height: int = 8, width: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def samples_of(pids: list[int], camids: list[int]) -> list[Sample]:
    return [Sample(Path("image.jpg"), pid, camid) for pid, camid in zip(pids, camids, strict=True)]


class TestExtract:
    def test_unit_features_in_evaluation_mode(self) -> None:
        network, images = Network(), random_images(10)
        statistics = network.norm.running_mean.clone()
        found = extract(network, images, batch_size=3)
        raw = normalize(images).mean(dim=3).flatten(1) / (1 + network.norm.eps)
        torch.testing.assert_close(found, torch.nn.functional.normalize(raw))
        assert found.dtype == torch.float32
        assert not found.is_inference()
        assert torch.equal(network.norm.running_mean, statistics)

    def test_each_module_keeps_its_mode(self) -> None:
        network = Network()
        extract(network, random_images(4))
        assert [network.training, network.norm.training, network.frozen.training] == [True, True, False]

    def test_modes_are_restored_after_an_error(self) -> None:
        network = Network()
        with pytest.raises(RuntimeError):
            extract(network, random_images(4, height=5))
        assert network.norm.training

    def test_evaluate_is_extract_and_rank(self) -> None:
        network = Network()
        query, gallery = samples_of([1, 2, 3], [1, 1, 1]), samples_of([1, 2, 3, 0, -1], [2, 2, 1, 2, 2])
        query_images, gallery_images = random_images(3), random_images(5, seed=1)
        expected = rank(extract(network, query_images), extract(network, gallery_images), *ids(query), *ids(gallery))
        found = evaluate(network, query, gallery, query_images, gallery_images, batch_size=2, device="cpu")
        assert found.skipped == (2,)
        assert found == expected

    def test_features_on_disk_give_the_same_to_the_bit(self, tmp_path: Path) -> None:
        network, pids, camids = Network(), [1, 2, 3] * 10, [1, 2] * 15
        query, gallery = samples_of(pids[:9], camids[:9]), samples_of(pids, [*camids[1:], 3])
        test = query, gallery, random_images(9), random_images(30, seed=1)
        in_memory = evaluate(network, *test, batch_size=4, device="cpu")
        assert evaluate(network, *test, batch_size=4, device="cpu", features_in=tmp_path / "features") == in_memory
        kept = FeatureFile(tmp_path / "features" / "gallery.npy")
        assert np.array_equal(kept[:], extract(network, test[3], batch_size=4).numpy())
        with pytest.raises(RuntimeError):
            evaluate(network, *test[:2], random_images(9, height=5), test[3], features_in=tmp_path / "broken")
        assert not (tmp_path / "broken").exists()

    def test_images_and_samples_must_be_as_many(self) -> None:
        query, gallery = samples_of([1], [1]), samples_of([1], [2])
        with pytest.raises(NasdaError, match=r"query features have shape \(2, 24\), expected \(1, D\)"):
            evaluate(Network(), query, gallery, random_images(2), random_images(1))


class OneLayer(torch.nn.Module):
    """Batch norm on the images themselves, and an instance norm with running statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3, momentum=0.3)
        self.instance = torch.nn.InstanceNorm2d(3, track_running_stats=True)

    def features(self, images: Tensor) -> Tensor:
        return self.norm(images).mean(dim=(2, 3))


BATCH_NORMS = torch.nn.BatchNorm1d, torch.nn.BatchNorm2d


class TestStatistics:
    @staticmethod
    def batches(*sizes: int, height: int = 32, width: int = 16) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [
            3 + index + torch.randn(size, 3, height, width, generator=generator) for index, size in enumerate(sizes)
        ]

    def test_of_one_layer_are_the_average_over_batches(self) -> None:
        network, batches = OneLayer(), self.batches(4, 2, 5)
        network.features(torch.zeros(2, 3, 4, 4))  # something to forget
        reestimate_statistics(network, iter(batches))
        pixels = [batch.double().numpy().transpose(1, 0, 2, 3).reshape(3, -1) for batch in batches]
        np.testing.assert_allclose(network.norm.running_mean, np.mean([p.mean(1) for p in pixels], axis=0), rtol=1e-5)
        variances = np.mean([p.var(1, ddof=1) for p in pixels], axis=0)
        np.testing.assert_allclose(network.norm.running_var, variances, rtol=1e-5)

    def test_of_a_whole_network_are_those_of_what_each_norm_is_given(self) -> None:
        """With batch norm in one and three dimensions, IBN (only its batch half has statistics) and dropout."""
        space = SpaceSettings(channels=4, nodes=3, cells_per_block=1, stem_stride=1, embedding=8)
        network = DerivedNetwork(random_genotype(3, PRIMITIVES["style"], 3), space, 5, seed=0).double().train()
        norms = {name: module for name, module in network.named_modules() if isinstance(module, BATCH_NORMS)}
        assert {type(norm) for norm in norms.values()} == set(BATCH_NORMS)
        assert any(name.endswith(".batch") for name in norms)
        given: dict[str, list[np.ndarray]] = {name: [] for name in norms}
        hooks = [
            norm.register_forward_hook(lambda _, inputs, __, name=name: given[name].append(inputs[0].numpy()))
            for name, norm in norms.items()
        ]
        reestimate_statistics(network, (batch.double() for batch in self.batches(6, 4)))
        for hook in hooks:
            hook.remove()
        for name, norm in norms.items():
            values = [np.moveaxis(x, 1, 0).reshape(x.shape[1], -1) for x in given[name]]
            assert len(values) == 2
            expected = {"mean": [x.mean(axis=1) for x in values], "var": [x.var(axis=1, ddof=1) for x in values]}
            for kind, of_batches in expected.items():
                found = getattr(norm, f"running_{kind}")
                np.testing.assert_allclose(found, np.mean(of_batches, axis=0), rtol=1e-9, atol=1e-12, err_msg=name)

    def test_nothing_but_the_statistics_of_batch_norm_changes(self) -> None:
        network = OneLayer()
        network.instance.eval()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        reestimate_statistics(network, self.batches(4))
        changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
        assert [network.training, network.norm.training, network.instance.training] == [True, True, False]
        assert network.norm.momentum == 0.3
        with pytest.raises(RuntimeError):
            reestimate_statistics(network.eval(), [torch.zeros(2, 4, 3, 3)])
        assert [network.training, network.norm.training, network.norm.momentum] == [False, False, 0.3]

    @pytest.mark.parametrize(("count", "sizes"), [(5, [5]), (8, [8]), (9, [5, 4]), (17, [6, 6, 5])])
    def test_batches_are_of_nearly_equal_size_and_hold_each_image_once(self, count: int, sizes: list[int]) -> None:
        images = random_images(count)
        batches = list(for_statistics(images, "cpu", batch_size=8))
        assert [len(batch) for batch in batches] == sizes
        both = (sorted(batch.flatten(1).tolist()) for batch in (torch.cat(batches), normalize(images)))
        assert next(both) == next(both)
        assert all(map(torch.equal, batches, for_statistics(images, "cpu", batch_size=8)))


def ids(samples: list[Sample]) -> tuple[list[int], list[int]]:
    return [sample.pid for sample in samples], [sample.camid for sample in samples]


class TestFloors:
    def test_hsv_is_colorsys(self) -> None:
        levels = torch.tensor([0, 1, 100, 254, 255], dtype=torch.uint8)
        colours = torch.cartesian_prod(levels, levels, levels)
        found = hsv(colours.T.reshape(1, 3, 5, 25)).reshape(3, -1).T
        expected = [colorsys.rgb_to_hsv(*(channel / 255 for channel in colour)) for colour in colours.tolist()]
        torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)

    @pytest.mark.parametrize(("height", "width"), [(64, 32), (37, 11), (6, 1)])
    def test_distances_are_hellinger_distances(self, height: int, width: int) -> None:
        found = colour_histogram(random_images(9, height=height, width=width), batch_size=4)
        assert found.shape == (9, 768)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(9))
        shares = found.square()
        affinity = (shares[0] * shares[1]).sqrt().sum()
        torch.testing.assert_close((found[0] - found[1]).square().sum() / 2, 1 - affinity)

    def test_a_stripe_tells_its_own_colours(self) -> None:
        image = torch.zeros(1, 3, 12, 4, dtype=torch.uint8)
        image[:, 0, 2:4] = 255  # the second of six stripes is red, the others are black
        stripes = colour_histogram(image).reshape(6, 8, 4, 4).square() * 6
        assert stripes[1, 0, 3, 3] == pytest.approx(1)
        assert stripes[[0, 2, 3, 4, 5], 0, 0, 0].tolist() == pytest.approx([1] * 5)

    def test_the_middle_three_quarters_of_the_width_count(self) -> None:
        image = random_images(1, height=12, width=32)
        middle = colour_histogram(image)
        image[..., :4], image[..., -4:] = 0, 255
        assert torch.equal(colour_histogram(image), middle)
        image[..., 4] = 255 - image[..., 4]
        assert not torch.equal(colour_histogram(image), middle)

    def test_random_features_are_reproducible_directions(self) -> None:
        state = torch.get_rng_state()
        assert torch.equal(random_features(5, seed=1), random_features(5, seed=1))
        assert not torch.equal(random_features(5, seed=1), random_features(5, seed=2))
        torch.testing.assert_close(random_features(5, seed=1).norm(dim=1), torch.ones(5))
        assert torch.equal(torch.get_rng_state(), state)

    def test_colours_beat_chance_where_colour_tells_identity(self) -> None:
        """Twenty identities, each of one colour, seen by two cameras under noise."""
        generator = torch.Generator().manual_seed(0)
        colours = torch.randint(0, 256, (20, 3, 1, 1), generator=generator)

        def seen() -> Tensor:
            noise = torch.randint(-5, 6, (20, 3, 24, 12), generator=generator)
            return (colours + noise).clamp(0, 255).to(torch.uint8)

        pids = list(range(1, 21))
        found = floors(samples_of(pids, [1] * 20), samples_of(pids, [2] * 20), seen(), seen(), seed=0)
        assert list(found) == ["random", "colour histogram"]
        assert found["colour histogram"].mAP > 0.7
        assert found["random"].mAP < 0.4
