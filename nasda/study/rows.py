"""The rows of Table 1 and the study's controls: how each architecture is chosen, and on what it is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from nasda.errors import NasdaError
from nasda.genotypes import PRIMITIVES, Genotype, random_genotype
from nasda.networks import PLAIN, RESNET18, RESNET50, DerivedNetwork, count_cost
from nasda.settings import Mode, Norm, Profile, Selection, TrainOn
from nasda.training import RESNET_RECIPE

SEARCHED, RANDOM, MATCHED = "searched", "random", "matched"
SIZE_TOLERANCE = 0.05  # of the multiply-adds of matched cells
_DRAWS = 10_000  # random cells to try before it is said that none has the size

Changes = Mapping[str, Mapping[str, Any]]  # of settings, by their group: {"search": {"mode": "S"}}


@dataclass(frozen=True)
class Row:
    """One row: how its architecture is chosen, and on what it is trained."""

    name: str
    # searched, random, matched (random, with the size of the cells that are searched), a name, or a genotype itself
    architecture: str | Genotype
    mode: Mode | None = None  # of the search
    by: Selection = "alpha"  # how the searched cells are selected
    changes: Changes = field(default_factory=dict)
    norm: Norm | None = None  # of the trained network; None: as the settings say, by default each operation's own
    translated: bool = False  # trained on the source as SPGAN translates it
    pretrained: bool = False  # starts from ImageNet's weights, like the paper's ResNet-50; others from random ones
    train_on: TrainOn | None = None  # "target" is in-domain; None: as the settings say, by default the source
    paper: tuple[str, str] | None = None  # method and data of the paper's row, if there is one

    @property
    def is_random(self) -> bool:
        """Whether a seed can have several cells."""
        return self.architecture in (RANDOM, MATCHED)

    @property
    def factors(self) -> dict[str, str] | None:
        """The levels of `factors.FACTORS`, if that is all in which the row differs from other searched ones: ω sees as
        many images as in S, and the cells are trained as they are on the source. None otherwise."""
        space, search = (self.changes.get(group, {}) for group in ("space", "search"))
        equal = self.mode == "S" or search.get("hold_out", False)
        if self.architecture != SEARCHED or not equal or self.norm or self.train_on or "beta_decay" in search:
            return None
        return {
            "space": space.get("space", "reid"),
            "data": str(self.mode),
            "statistics": search.get("alpha_statistics", "batch"),
            "loss": search.get("alpha_loss", "triplet"),
            "selection": self.by,
        }


def _style(mode: Mode, **search: Any) -> dict[str, Any]:
    """A search in the space `style`. α has the test's conditions, and ω sees as many images in S as in S+R."""
    given = {"alpha_statistics": "source", "hold_out": True, **search}
    return {"architecture": SEARCHED, "mode": mode, "changes": {"space": {"space": "style"}, "search": given}}


def _reid(mode: Mode, **search: Any) -> dict[str, Any]:
    """A search in the paper's space, with as many images for ω in S as in S+R."""
    return {"architecture": SEARCHED, "mode": mode, "changes": {"search": {"hold_out": True, **search}}}


STYLE_S, STYLE_SR = "style NAS (S)", "style NAS (S+R)"
_NO_POOL = tuple(name for name in PRIMITIVES["reid"] if name not in ("avg_pool_3x3", "skip_connect"))

ROWS = (
    Row("NAS (S)", SEARCHED, "S", paper=("NAS", "S")),
    Row("NAS (S+R)", SEARCHED, "S+R", paper=("NAS", "S+R")),
    Row(STYLE_S, **_style("S")),
    Row(STYLE_SR, **_style("S+R")),
    Row("random cells", RANDOM),
    Row("ResNet-50 (S)", RESNET50, paper=("ResNet-50", "S")),
    Row("ResNet-50 (SPGAN, S+R)", RESNET50, translated=True, paper=("ResNet-50 (SPGAN)", "S+R")),
)
IN_DOMAIN_ROWS = (Row("NAS (S+R), trained on the target", SEARCHED, "S+R", train_on="target"),)
PRETRAINED_ROWS = (
    Row("ResNet-50, from ImageNet (S)", RESNET50, pretrained=True, paper=("ResNet-50", "S")),
    Row(
        "ResNet-50, from ImageNet (SPGAN, S+R)",
        RESNET50,
        translated=True,
        pretrained=True,
        paper=("ResNet-50 (SPGAN)", "S+R"),
    ),
)
CONTROLS = (
    # Is it the space, or the size?
    Row("random style cells", RANDOM, changes={"space": {"space": "style"}}),
    Row("random style cells, as large as S+R's", **_style("S+R") | {"architecture": MATCHED}),
    Row("random style cells, as large as S's", **_style("S") | {"architecture": MATCHED}),
    Row("random cells without avg pool and skip", RANDOM, changes={"space": {"operations": _NO_POOL}}),
    # Is it the norm alone?
    Row("hand-drawn cell", "resnet-like"),
    Row("hand-drawn cell, IBN", "resnet-like", norm="ibn"),
    Row("NAS (S), IBN everywhere", SEARCHED, "S", norm="ibn"),
    # The factors: space × data × statistics of α, all with as many images for ω
    Row("NAS (S+R), equal images", **_reid("S+R")),
    Row("NAS (S), source statistics", **_reid("S", alpha_statistics="source")),
    Row("NAS (S+R), source statistics", **_reid("S+R", alpha_statistics="source")),
    Row("style NAS (S), batch statistics", **_style("S", alpha_statistics="batch")),
    Row("style NAS (S+R), batch statistics", **_style("S+R", alpha_statistics="batch")),
    # Are cells worth it at all?
    Row("plain CNN", PLAIN),
    Row("ResNet-18 (S)", RESNET18, changes={"train": RESNET_RECIPE}),
    # Another loss, another selection, other weights
    Row("style NAS (S+R), memory", **_style("S+R", alpha_loss="memory")),
    Row("style NAS (S+R), mmd", **_style("S+R", alpha_loss="mmd")),
    Row("style NAS (S+R), β-DARTS", **_style("S+R", beta_decay=1.0)),
    Row("style NAS (S), by perturbation", **_style("S"), by="perturbation"),
    Row("style NAS (S+R), by perturbation", **_style("S+R"), by="perturbation"),
    Row("style NAS (S+R), trained on source and sample", **_style("S+R"), train_on="source+sample"),
)
PAIRS = (  # the comparisons of interest, named before there is a number
    (STYLE_SR, STYLE_S),
    (STYLE_SR, "random style cells, as large as S+R's"),
    (STYLE_SR, "NAS (S+R)"),
    ("NAS (S+R)", "NAS (S)"),
    ("NAS (S), IBN everywhere", "NAS (S)"),
    ("NAS (S), IBN everywhere", "NAS (S+R)"),
    ("hand-drawn cell, IBN", "hand-drawn cell"),
    ("NAS (S+R)", "random cells"),
    ("NAS (S)", "random cells"),
    ("NAS (S+R), trained on the target", "NAS (S+R)"),
    ("ResNet-50 (SPGAN, S+R)", "ResNet-50 (S)"),
)


def rows_named(names: Sequence[str], usual: Sequence[Row], more: Sequence[Row] = ()) -> tuple[Row, ...]:
    """The rows of these names, among the `usual` ones and `more`; without names the usual ones. Raises `NasdaError` for
    an unknown name."""
    known = {row.name: row for row in (*usual, *more)}
    unknown = sorted(set(names) - known.keys())
    if unknown:
        raise NasdaError(f"--only {', '.join(unknown)}: expected rows among {', '.join(map(repr, known))}")
    return tuple(row for row in known.values() if row.name in names) if names else tuple(usual)


def matched_genotype(genotype: Genotype, settings: Profile, seed: int) -> Genotype:
    """A random genotype of the space of `settings` whose network has the multiply-adds of that of `genotype`, to 5 %.

    Raises `NasdaError` if 10,000 random ones have another size.
    """
    size = multiply_adds(genotype, settings)
    seeds = (int(f"{seed + 1}{number:05d}") for number in count())
    for drawn in (random_genotype(genotype.nodes, settings.space.primitives, s) for s in islice(seeds, _DRAWS)):
        if abs(multiply_adds(drawn, settings) / size - 1) <= SIZE_TOLERANCE:
            return drawn
    raise NasdaError(f"no random cell of the space has {size:,} multiply-adds, to 5 %: choose other controls (--only)")


def multiply_adds(genotype: Genotype, settings: Profile) -> int:
    """Of the network of `genotype`, for one image."""
    network = DerivedNetwork(genotype, settings.space, 1, seed=0)
    return count_cost(network, settings.data.height, settings.data.width).multiply_adds
