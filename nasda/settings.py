"""Settings: one dataclass per concern, and the four profiles that fill them in.

A profile is only a starting point; the `nasda` command turns every field below into an option.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from nasda.errors import NasdaError
from nasda.genotypes import PRIMITIVES, Space, check_primitives

TaskName = Literal["person", "vehicle"]
ProfileName = Literal["tiny", "laptop", "gpu", "paper"]
Mode = Literal["S", "S+R"]
Order = Literal["first", "second"]
AlphaLoss = Literal["triplet", "retrieval", "unit-triplet", "memory", "mmd"]
AlphaStatistics = Literal["batch", "source"]
Statistics = Literal["source", "target"]
Norm = Literal["own", "ibn"]
Style = Literal["street", "campus"]
Form = Literal["fast", "clear"]
Precision = Literal["float32", "bfloat16"]
TrainOn = Literal["source", "target", "source+sample"]
Selection = Literal["alpha", "perturbation"]

TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)
PROFILE_NAMES: tuple[ProfileName, ...] = get_args(ProfileName)


@dataclass(frozen=True)
class SpaceSettings:
    """The search space (§2.1, §2.3) and the macro network that the cells are stacked into (§3.3)."""

    space: Space = "reid"
    """Operations to choose from: plain (§2.1's six), reid (with part-aware, §2.3) or style (with IBN, too)."""
    operations: tuple[str, ...] = ()
    """Instead of --space, the operations to choose from, such as none,skip_connect,sep_conv_3x3."""
    channels: int = 32
    """Channels C of the first block's nodes; each block doubles them."""
    nodes: int = 4
    """Intermediate nodes a cell."""
    norm: Norm = "own"
    """The norm in a derived cell's operations: each one's own, or IBN (half instance, half batch norm) in all."""
    partial: int = 1
    """In a search, K of PC-DARTS: 1/K of the channels goes through the operations, and β weights a node's edges."""
    blocks: int = 4
    """Blocks of cells; the first cell of each block but the first halves height and width."""
    cells_per_block: int = 2
    """Cells in each block."""
    stem_stride: int = 4
    """What the 3x3 convolutional head divides height and width by: 1, 2 or 4 (unstated; the paper's 24 GB imply 4)."""
    parts: int = 4
    """Horizontal stripes that the part-aware module attends over."""
    embedding: int = 512
    """Length of the embedding g between the feature f and the logits h."""
    dropout: float = 0.5
    """Drop probability between f and g, and between g and h."""

    def __post_init__(self) -> None:
        """Turn names with commas between them (from a shell) and lists (from a file) into one tuple."""
        names = tuple(name for word in self.operations for name in word.split(",") if name)
        object.__setattr__(self, "operations", names)

    @property
    def primitives(self) -> tuple[str, ...]:
        """The operations to choose from, in the order of α's columns. Raises `NasdaError` if one is unknown or named
        twice, or if there is none besides `none`."""
        return check_primitives(self.operations or PRIMITIVES[self.space])


@dataclass(frozen=True)
class SearchSettings:
    """The bilevel search (Algorithm 1, §3.3)."""

    mode: Mode = "S+R"
    """Where α learns: S = held-out images of the source, S+R = a small sample of the target's training split."""
    order: Order = "first"
    """α's gradient: first order, or second order through one virtual step of ω (DARTS eq. 7 and 8)."""
    alpha_loss: AlphaLoss = "triplet"
    """Triplet on f, unit-triplet on f/‖f‖, retrieval (eq. 9), memory (of centres), mmd (no target labels)."""
    alpha_statistics: AlphaStatistics = "batch"
    """What batch norm takes in the α step: the batch's statistics, or the source's running ones, as the test does."""
    hold_out: bool = False
    """In S+R, too, hold back from ω the source images that α of S learns on: then ω sees as many images in both."""
    temperature: float = 0.05
    """Of the memory loss: what cosine similarities are divided by."""
    mmd_weight: float = 1.0
    """Of the mmd loss: the weight of the distance between source and target."""
    beta_decay: float = 0.0
    """Weight of β-DARTS' regulariser, the mean over edges of log Σ exp α; it grows from 0 over the epochs."""
    sample_images: int = 4
    """Images an identity in α's sample. The triplet term needs at least 2."""
    literal: bool = False
    """Accept §3.1 to the letter: one image an identity in α's sample, although the triplet loss is then 0."""
    epochs: int = 50
    """Passes over the source."""
    steps: int | None = None
    """Stop each epoch after so many steps (for dry runs); all of them if not given."""
    identities: int = 16
    """P: identities in a batch."""
    images: int = 4
    """K: images of each identity in a batch."""
    weights_lr: float = 0.001
    """Learning rate of ω (SGD)."""
    momentum: float = 0.9
    """Momentum of ω."""
    weights_decay: float = 0.0005
    """Weight decay of ω."""
    alphas_lr: float = 0.005
    """Learning rate of α (Adam)."""
    alphas_decay: float = 0.0005
    """Weight decay of α."""
    margin: float = 0.3
    """Margin of the triplet loss (eq. 8)."""
    balance: float = 0.5
    """Weight of the softmax loss against the triplet loss (λ of eq. 9)."""


@dataclass(frozen=True)
class TrainSettings:
    """Training a derived network, or the ResNet-50 baseline, from scratch. The paper does not describe it; these
    follow Bag of Tricks (Luo et al. 2019) without its tricks on the loss."""

    train_on: TrainOn = "source"
    """source (S and S+R then differ in the architecture only), target (in-domain, the ceiling), or source+sample."""
    sample_images: int = 4
    """Images an identity of the target's sample, for source+sample."""
    epochs: int = 120
    """Passes over the training images."""
    steps: int | None = None
    """Stop each epoch after so many steps (for dry runs); all of them if not given."""
    identities: int = 16
    """P: identities in a batch."""
    images: int = 4
    """K: images of each identity in a batch."""
    lr: float = 0.00035
    """Peak learning rate (Adam), reached after the warm-up, then falling to 0 along a cosine."""
    warmup: float = 0.1
    """Share of all steps in which the learning rate rises."""
    decay: float = 0.0005
    """Weight decay."""
    margin: float = 0.3
    """Margin of the triplet loss (eq. 8)."""
    balance: float = 0.5
    """Weight of the softmax loss against the triplet loss (λ of eq. 9)."""


@dataclass(frozen=True)
class DataSettings:
    """The images, as networks see them."""

    height: int = 256
    """Height of the images in pixels."""
    width: int = 128
    """Width of the images in pixels."""
    padding: int = 10
    """Pixels added on each side before the random crop."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    erasing: float = 0.5
    """Probability of random erasing."""


@dataclass(frozen=True)
class ToySettings:
    """How much built-in data to make, and how different its two domains are."""

    gap: float = 1.0
    """0: the target looks like the source, a game engine; 1: it looks like a street."""
    style: Style = "street"
    """The target's: street, in which cameras and single shots differ much, or campus, nearer to real images."""
    source_identities: int = 100
    """Identities of the source's training split."""
    target_identities: int = 100
    """Identities of the target's training split."""
    test_identities: int = 50
    """Identities of the target's query and gallery."""
    images_per_camera: int = 2
    """Images of an identity in each camera that sees it."""
    world: int = 0
    """Which people, vehicles and cameras there are. Runs of different --seed share one world."""


@dataclass(frozen=True)
class SPGANSettings:
    """Translating the source into the target's style before training on it (Deng et al. 2018)."""

    epochs: int = 10
    """Passes over the source."""
    steps: int | None = None
    """Stop each epoch after so many steps; all of them if not given."""
    batch_size: int = 1
    """Images of each domain in a batch."""
    channels: int = 64
    """Channels of the first layer of generators, discriminators and Siamese net."""
    blocks: int = 9
    """Residual blocks of a generator."""
    lr: float = 0.0002
    """Learning rate (Adam) of all networks."""
    cycle: float = 10.0
    """Weight of the cycle loss: an image that is translated there and back stays the same."""
    identity: float = 5.0
    """Weight of the identity loss: an image that has the style already stays the same."""
    similarity: float = 2.0
    """Weight of the similarity loss: a translation is near its original and far from the other domain's images."""
    margin: float = 2.0
    """Distance beyond which the similarity loss leaves a negative pair alone; unit vectors are 2 apart at most."""
    similarity_epoch: int = 3
    """Epoch, counted from 1, in which the similarity loss and the Siamese net start."""
    pool: int = 50
    """Earlier translations, of each direction, that the discriminators see again; 0 for none."""


@dataclass(frozen=True)
class EvaluateSettings:
    """Testing on query and gallery."""

    memory: int = 256
    """Bound on the memory that ranking takes, in MiB."""
    statistics: Statistics = "source"
    """Batch norm's, in the test: those that training left, or re-estimated on the target's training images."""
    batch_size: int = 64
    """Images a forward pass."""
    features_on_disk: bool = False
    """Keep a network's features on disk while they are compared, in its run's folder: for large galleries."""


@dataclass(frozen=True)
class ComputeSettings:
    """How the numbers are computed. None of this changes what is computed, except by rounding."""

    form: Form = "fast"
    """The search's cells: clear says eq. 6 edge by edge, fast gives the same numbers from far fewer operations."""
    precision: Precision = "float32"
    """What CUDA computes features in; losses are float32 in any case, and so is everything on other devices."""
    graphs: bool = False
    """Record the search's step once as CUDA graphs and replay it, which is faster; only on CUDA."""


@dataclass(frozen=True)
class Profile:
    """All settings together, for one task. A run takes one of these and a seed."""

    space: SpaceSettings = SpaceSettings()
    search: SearchSettings = SearchSettings()
    train: TrainSettings = TrainSettings()
    data: DataSettings = DataSettings()
    toy: ToySettings = ToySettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    compute: ComputeSettings = ComputeSettings()
    spgan: SPGANSettings = SPGANSettings()


_SMALL_SPACE = SpaceSettings(stem_stride=2, embedding=128, dropout=0.1)
_ON_GPU = ComputeSettings(precision="bfloat16", graphs=True)

_PROFILES: dict[ProfileName, Profile] = {
    "tiny": Profile(
        space=dataclasses.replace(_SMALL_SPACE, channels=4, nodes=2, cells_per_block=1),
        search=SearchSettings(epochs=3, identities=8, images=4, weights_lr=0.05, alphas_lr=0.02),
        train=TrainSettings(epochs=30, identities=8, images=4, lr=0.006),
        data=DataSettings(height=64, width=32, padding=3),
        toy=ToySettings(source_identities=24, target_identities=24, test_identities=12),
        spgan=SPGANSettings(epochs=3, steps=36, batch_size=4, channels=8, blocks=2, lr=0.001, similarity_epoch=2),
    ),
    "laptop": Profile(
        space=dataclasses.replace(_SMALL_SPACE, channels=8, nodes=3, cells_per_block=1),
        search=SearchSettings(epochs=12, identities=16, images=4, weights_lr=0.05, alphas_lr=0.02),
        train=TrainSettings(epochs=30, identities=16, images=4, lr=0.003),
        data=DataSettings(height=64, width=32, padding=3),
        toy=ToySettings(source_identities=150, target_identities=150, test_identities=60),
        spgan=SPGANSettings(epochs=5, batch_size=4, channels=16, blocks=4, lr=0.0005),
    ),
    "gpu": Profile(
        space=SpaceSettings(channels=16),
        search=SearchSettings(epochs=30, weights_lr=0.05),
        train=TrainSettings(epochs=60),
        toy=ToySettings(source_identities=300, target_identities=300, test_identities=150),
        compute=_ON_GPU,
        spgan=SPGANSettings(epochs=6, batch_size=4, channels=32, blocks=6),
    ),
    "paper": Profile(  # §3.3: every other setting's default is the paper's
        toy=ToySettings(source_identities=410, target_identities=751, test_identities=750),
        compute=_ON_GPU,
    ),
}


def changed(settings: Profile, **groups: Mapping[str, Any]) -> Profile:
    """`settings` with some of them changed, for instance `changed(settings, search={"mode": "S"})`."""
    parts = {group: dataclasses.replace(getattr(settings, group), **changes) for group, changes in groups.items()}
    return dataclasses.replace(settings, **parts)


def profile(name: ProfileName, task: TaskName) -> Profile:
    """The settings of profile `name` for `task`: a person's box is twice as high as wide, a vehicle's square (§3.1)."""
    chosen = _PROFILES[name]
    if task == "person":
        return chosen
    return dataclasses.replace(chosen, data=dataclasses.replace(chosen.data, width=chosen.data.height))


_AT_MOST = dict.fromkeys(("balance", "dropout", "warmup", "flip", "erasing", "gap", "momentum"), 1)
_AT_MOST |= {"seed": 2**63 - 1, "world": 2**63 - 1}  # torch's largest seed
_MAY_BE_ZERO = {*_AT_MOST, "weights_decay", "alphas_decay", "decay", "margin", "padding", "tune_steps"}
_MAY_BE_ZERO |= {"cycle", "identity", "similarity", "pool", "mmd_weight", "beta_decay"}


def check_settings(*parts: Any) -> None:
    """Raise `NasdaError` naming the first value in these settings that makes no sense."""
    for part in parts:
        if isinstance(part, SpaceSettings):
            _ = part.primitives
            check_partial(part.channels, part.partial)
        for name in (field.name for field in dataclasses.fields(part)):
            value, option = getattr(part, name), "--" + name.replace("_", "-")
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if not math.isfinite(value) or value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
                least = "0 or more" if name in _MAY_BE_ZERO else "above 0"
                raise NasdaError(f"{option} is {value}: expected a number {least}")
            if value > _AT_MOST.get(name, math.inf):
                raise NasdaError(f"{option} is {value}: expected at most {_AT_MOST[name]}")


def check_partial(channels: int, partial: int) -> None:
    """Raise `NasdaError` if `partial` does not divide `channels`."""
    if partial < 1 or channels % partial:
        raise NasdaError(f"--partial is {partial}: expected a number that divides the cells' {channels} channels")
