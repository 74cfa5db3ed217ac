"""A space so small that all of it is trained: what a search finds, beside the cell that really is the best.

Two nodes, two operations, and one cell that is both the normal and the reduction cell: 42 networks, each trained on
the source of the profile `tiny`. Scores are measured at two gaps, since only the tests differ, and with two seeds,
since a single score of a cell is in part luck. Beside them stand searches of the same space, and α's loss of each
cell.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nasda.bilevel import Bilevel
from nasda.data.batches import Batches
from nasda.data.domain import Sample
from nasda.data.store import stored
from nasda.data.task import Task, load_task
from nasda.evaluation import evaluate, floors, for_statistics, reestimate_statistics
from nasda.files import make_folder, read_json, write_json
from nasda.genotypes import CELL_INPUTS, EDGES_PER_NODE, Edge, Genotype, Node
from nasda.networks import DerivedNetwork, count_cost
from nasda.runs import RunFolder
from nasda.search import Search, run_search, split_for_search
from nasda.settings import Profile, changed, profile
from nasda.study.proxy import supernet_losses
from nasda.toy.make import make_toy
from nasda.training import Training

OPERATIONS = ("max_pool_3x3", "sep_conv_3x3")
GAPS = (0.0, 1.0)
SEEDS = (0, 1)  # of the trainings
SEARCH_SEEDS = range(3)
CPU = torch.device("cpu")

Cell = tuple[Node, ...]

SETTINGS: Profile = changed(
    profile("tiny", "person"),
    space={"operations": OPERATIONS, "blocks": 3, "stem_stride": 4, "channels": 8},
    search={"epochs": 20},
    train={"epochs": 20},
    toy={"test_identities": 50},
)


def every_cell(operations: tuple[str, ...] = OPERATIONS) -> list[Cell]:
    """All cells of two nodes, of two that differ by the nodes' order alone the first one.

    Two nodes that both read the cell's inputs alone may change places: the cell's output has the same channels, in
    another order.
    """
    choices = [
        [
            tuple(Edge(name, source) for name, source in zip(names, inputs, strict=True))
            for inputs in combinations(range(CELL_INPUTS + node), EDGES_PER_NODE)
            for names in product(operations, repeat=EDGES_PER_NODE)
        ]
        for node in range(2)
    ]
    return [
        (first, second)
        for first, second in product(*choices)
        if second not in choices[0] or choices[0].index(first) <= choices[0].index(second)
    ]


class Test(NamedTuple):
    """The images that a trained network is tested on, and those for batch norm's statistics."""

    query: list[Sample]
    gallery: list[Sample]
    query_images: Tensor
    gallery_images: Tensor
    unlabelled: Tensor


class Exhaustive:
    """The whole experiment in the folder `out`. Calling its methods again continues what was interrupted."""

    def __init__(self, out: Path) -> None:
        self.out = make_folder(out)
        self.log = self.out / "scores.jsonl"
        self.cells = every_cell()
        self.tasks = {gap: self._task(gap) for gap in GAPS}
        size = SETTINGS.data.height, SETTINGS.data.width
        self.tests = {}
        for gap, task in self.tasks.items():
            query, gallery, train = (getattr(task.target, split) for split in ("query", "gallery", "train"))
            self.tests[gap] = Test(query, gallery, *(stored(samples, *size) for samples in (query, gallery, train)))

    def _task(self, gap: float) -> Task:
        root = self.out / f"data-gap-{gap:g}"
        data = SETTINGS.data
        make_toy(root, "person", height=data.height, width=data.width, settings=replace(SETTINGS.toy, gap=gap))
        return load_task("person", root)

    def scores(self) -> list[dict[str, Any]]:
        """Every cell with every seed, trained and tested: cell's number, seed, mAP by gap and statistics, seconds."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        done = {(row["cell"], row["seed"]) for row in rows}
        for seed, number in product(SEEDS, range(len(self.cells))):
            if (number, seed) not in done:
                began = time.process_time()
                network = self._trained(self.cells[number], seed)
                row = {"cell": number, "seed": seed, "mAP": self._tested(network)}
                rows.append({**row, "seconds": time.process_time() - began})
                with self.log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
        return rows

    def _trained(self, cell: Cell, seed: int) -> DerivedNetwork:
        settings, data = SETTINGS.train, SETTINGS.data
        samples = self.tasks[GAPS[0]].source.train  # the same at every gap
        batches = Batches(samples, data, settings.identities, settings.images, seed=seed, device=CPU, augmented=True)
        network = DerivedNetwork(Genotype(cell, cell), SETTINGS.space, batches.classes, seed=seed)
        training = Training(network, batches, SETTINGS, seed=seed, device=CPU)
        network.train()
        for epoch, step in product(range(settings.epochs), range(training.steps)):
            training.step(epoch, step)
        return network

    def _tested(self, network: DerivedNetwork) -> dict[str, dict[str, float]]:
        trained = {name: value.clone() for name, value in network.state_dict().items()}
        found: dict[str, dict[str, float]] = {}
        for gap, test in self.tests.items():
            network.load_state_dict(trained)
            network.eval()
            source = evaluate(network, *test[:4]).mAP
            reestimate_statistics(network, for_statistics(test.unlabelled, CPU))
            found[f"{gap:g}"] = {"source": source, "target": evaluate(network, *test[:4]).mAP}
        return found

    def searches(self) -> list[dict[str, Any]]:
        """DARTS in this space, with one α for both kinds of cells: mode, seed, and the number of the found cell.

        S+R looks at the target of the widest gap.
        """
        settings = {mode: changed(SETTINGS, search={"mode": mode}) for mode in ("S", "S+R")}
        path = self.out / "searches.json"
        rows: list[dict[str, Any]] = read_json(path, "searches") if path.exists() else []
        for mode, seed in product(settings, SEARCH_SEEDS):
            if not any((row["search"], row["seed"]) == (mode, seed) for row in rows):
                began = time.process_time()
                cell = self._searched(settings[mode], seed)
                rows.append({"search": mode, "seed": seed, "cell": cell, "seconds": time.process_time() - began})
                write_json(path, rows)
        return rows

    def _searched(self, settings: Profile, seed: int) -> int:
        shares = split_for_search(self.tasks[max(GAPS)], settings.search, seed)
        search = Search(*shares, settings, seed=seed, device=CPU)
        alphas, options = search.network.alphas, settings.search
        alphas["reduce"] = alphas["normal"]
        adam = torch.optim.Adam([alphas["normal"]], options.alphas_lr, weight_decay=options.alphas_decay)
        omega = torch.optim.SGD(
            search.network.weight_parameters(),
            options.weights_lr,
            momentum=options.momentum,
            weight_decay=options.weights_decay,
        )
        search.bilevel = Bilevel(search.network, omega, adam)
        for epoch in range(options.epochs):
            search.epoch(epoch)
        return self._number(search.network.genotype().normal)

    def _number(self, cell: Cell) -> int:
        """The cell's place in `cells`, or that of the same cell with its nodes in the other order."""
        return self.cells.index(cell if cell in self.cells else cell[::-1])

    def losses(self) -> list[dict[str, float]]:
        """α's triplet loss of every cell with the ω that it inherits from a supernet whose α stayed at rest, on images
        of the source and of the target at the widest gap."""
        path, task = self.out / "losses.json", self.tasks[max(GAPS)]
        if not path.exists():
            resting = changed(SETTINGS, search={"mode": "S", "alphas_lr": 1e-9})
            folder = RunFolder(self.out / "supernet")
            run_search(folder, task, resting, seed=0, device=CPU)
            genotypes = [Genotype(cell, cell) for cell in self.cells]
            found = [
                {proxy.images: loss for proxy, loss in losses.items() if proxy[::2] == ("triplet", "batch")}
                for losses in supernet_losses(folder, task, genotypes, CPU)
            ]
            write_json(path, found)
        return read_json(path, "losses of cells")

    def table(self) -> dict[str, Any]:
        """All of it, as it ships."""
        began = time.process_time()
        losses = self.losses()
        measuring = time.process_time() - began
        rows = self.scores() + self.searches()
        return {
            "cells": [[[list(edge) for edge in node] for node in cell] for cell in self.cells],
            "multiply_adds": list(self._sizes()),
            "losses": losses,
            "floors": {f"{gap:g}": self._floors(test) for gap, test in self.tests.items()},
            "scores": [row for row in rows if "mAP" in row],
            "searches": [row for row in rows if "search" in row],
            "seconds": measuring + sum(row["seconds"] for row in rows),
        }

    @staticmethod
    def _floors(test: Test) -> dict[str, float]:
        return {name: metrics.mAP for name, metrics in floors(*test[:4]).items()}

    def _sizes(self) -> Iterator[int]:
        for cell in self.cells:
            network = DerivedNetwork(Genotype(cell, cell), SETTINGS.space, 2, seed=0)
            yield count_cost(network, SETTINGS.data.height, SETTINGS.data.width).multiply_adds
