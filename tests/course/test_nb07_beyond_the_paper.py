"""nasda.course.nb07_beyond_the_paper: its pictures, and what stands in for a supernet in its exercises."""

import numpy as np
import torch

from nasda.course import nb07_beyond_the_paper as lesson
from nasda.genotypes import CELL_KINDS, PRIMITIVES, random_genotype
from nasda.networks import Supernet
from nasda.operations import operation_label
from nasda.selection import loss_with, select_by_perturbation
from nasda.settings import SpaceSettings
from nasda.toy import digits


def test_a_sheet_shows_each_digit_in_its_row() -> None:
    some = digits.printed(40, 0)
    image = lesson.digit_sheet({"print": some}, columns=3).axes[0].images[0].get_array()
    assert image.shape == (89, 26)
    second_seven = some.images[some.labels == 7][1, 0].numpy()
    np.testing.assert_array_equal(image[63:71, 9:17], second_seven)
    assert np.isnan(np.ma.filled(image, np.nan)[71, :]).all()


def test_a_barcode_names_what_is_in_it() -> None:
    cells = [random_genotype(2, PRIMITIVES["style"], seed) for seed in range(2)]
    figure = lesson.barcode({"random": cells, "other": cells[:1]})
    chosen = {e.operation for cell in cells for kind in CELL_KINDS for node in cell.cell(kind) for e in node}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == set(map(operation_label, chosen))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["random, 0", "random, 1", "other, 0"]


def test_the_three_steps_select_what_the_library_selects() -> None:
    """On a supernet, with a tuning that changes ω, in the library's random order."""
    space = SpaceSettings(space="plain", channels=4, nodes=3, blocks=2, cells_per_block=1, stem_stride=1, embedding=8)
    some = digits.printed(20, 0)
    selected = []
    for by_steps in (False, True):
        network = Supernet(space, 10, seed=0).train()
        network.head.eval()  # no dropout
        optimizer = torch.optim.SGD(network.weight_parameters(), 0.1)

        def loss(network: Supernet = network) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(network(some.images).logits, some.labels)

        def tune(optimizer: torch.optim.Optimizer = optimizer, loss=loss) -> None:  # type: ignore[no-untyped-def]
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        if not by_steps:
            selected.append(select_by_perturbation(network, loss, tune, seed=1))
            continue

        def measured(weights, network=network, loss=loss):  # type: ignore[no-untyped-def]
            return loss_with(network, weights, loss)

        def tuned(weights, network=network, tune=tune) -> None:  # type: ignore[no-untyped-def]
            with network.mixed_by(weights):
                tune()

        rng = np.random.default_rng(1)
        places = [(kind, place) for kind in CELL_KINDS for place in range(9)]
        weights = {kind: network.mixture(kind).detach() for kind in CELL_KINDS}
        order = [places[i] for i in rng.permutation(len(places))]
        kept = lesson.keep_operations(weights, order, network.primitives, measured, tuned)
        places = [(kind, node) for kind in CELL_KINDS for node in range(3)]
        order = [places[i] for i in rng.permutation(len(places))]
        selected.append(lesson.keep_inputs(kept, order, network.primitives, measured, tuned))
    assert selected[0] == selected[1]
