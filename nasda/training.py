"""Training a derived network or a baseline as a whole run: the same recipe for all."""

import math
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from nasda.data.batches import Batches
from nasda.data.datasets import Side
from nasda.data.domain import Sample
from nasda.data.task import Task, target_sample
from nasda.devices import autocast, seeded
from nasda.errors import NasdaError
from nasda.genotypes import Genotype
from nasda.losses import retrieval_loss
from nasda.networks import PLAIN, RESNETS, DerivedNetwork, PlainCNN, ReIDNetwork, ResNet, count_cost
from nasda.runs import Run, RunFolder, as_config, finite, run_epochs, run_steps, seen
from nasda.settings import Profile, SpaceSettings, TrainOn, TrainSettings, check_settings

Architecture = Genotype | str  # a baseline's name: one of BASELINES
BASELINES = (*RESNETS, PLAIN)

# What a ResNet from nothing takes at 64×32, found on the source alone: in 10 epochs ResNet-18 reaches mAP 99.4 on the
# source's own query and gallery (laptop, one seed). That leaves no room to choose another stem or last stride by, so
# both are torchvision's. At tiny's own rate of 0.006 ResNet-50 learns next to nothing: after 30 epochs its loss is
# 1.76, that of equal features and equal logits 1.89.
RESNET_RECIPE = {"lr": 0.003, "warmup": 0.1}
SIDES: dict[TrainOn, tuple[Side, ...]] = {  # whose training splits each choice of images sees
    "source": ("source",),
    "target": ("target",),
    "source+sample": ("source", "target"),
}


def split_for_training(task: Task, settings: TrainSettings, seed: int) -> list[Sample]:
    """The images to train on: the source's (default), the target's (in-domain), or the source's and a small sample of
    the target's, with identities numbered after the source's. Never a query or a gallery."""
    if settings.train_on == "target":
        return task.target.train
    if settings.train_on == "source":
        return task.source.train
    last = max(sample.pid for sample in task.source.train)
    sample = target_sample(task.target, settings.sample_images, seed)
    return task.source.train + [s._replace(pid=s.pid + last + 1) for s in sample]


def make_network(
    architecture: Architecture, space: SpaceSettings, classes: int, *, seed: int, weights: str | None = None
) -> ReIDNetwork:
    """The network of a genotype or a baseline. `weights` are for a ResNet; see there.

    Raises `NasdaError` for another name, and for weights of another network.
    """
    if weights is not None and architecture not in RESNETS:
        raise NasdaError(f"--weights is for --architecture {' or '.join(RESNETS)} only")
    if isinstance(architecture, Genotype):
        return DerivedNetwork(architecture, space, classes, seed=seed)
    if architecture in RESNETS:
        return ResNet(architecture, space, classes, seed=seed, weights=weights)
    if architecture == PLAIN:
        return PlainCNN(space, classes, seed=seed)
    raise NasdaError(f"architecture {architecture!r}: expected a genotype or one of {', '.join(BASELINES)}")


def described(architecture: Architecture) -> Any:
    """An architecture as config.json has it: a baseline's name, or a genotype's `to_dict`."""
    return architecture if isinstance(architecture, str) else architecture.to_dict()


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The learning rate at `step` of `steps`: a straight rise over the first `warmup` share, then a cosine to 0."""
    rise = warmup * steps
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


class Training(Run):
    """The state of a running training: network, optimizer, batches. `run_epochs` drives it."""

    def __init__(
        self, network: ReIDNetwork, batches: Batches, profile: Profile, *, seed: int, device: torch.device
    ) -> None:
        batches.check_triplets()
        settings = profile.train
        self.network, self.batches, self.settings, self.seed = network.to(device), batches, settings, seed
        self.device, self.precision = device, profile.compute.precision
        # Fused: on a CPU a third of Adam's own time, a tenth less of a ResNet-50's step.
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), settings.lr, weight_decay=settings.decay, fused=True
        )
        self.steps = min(len(batches), settings.steps or len(batches))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Eq. 9 on one batch."""
        with autocast(self.device, self.precision):
            features = self.network.features(images)
        logits = self.network.head(features)
        return retrieval_loss(features, logits, labels, margin=self.settings.margin, balance=self.settings.balance)

    def step(self, epoch: int, index: int) -> Tensor:
        """One update; returns the loss before it."""
        settings, done = self.settings, epoch * self.steps + index
        rate = learning_rate(done, settings.epochs * self.steps, settings.lr, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with seeded(self.seed, epoch, index):
            loss = self.loss(*self.batches.next())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def epoch(self, index: int) -> dict[str, Any]:
        """One pass over the training images; returns the log's row."""
        self.network.train()
        loss, times = run_steps(
            lambda step: self.step(index, step),
            self.steps,
            images=self.batches.batch_size,
            device=self.device,
            name=f"train, epoch {index + 1}/{self.settings.epochs}",
        )
        return {"epoch": index + 1, "loss": finite(loss, "the training loss", "lower --lr"), **times}

    def parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimizer": self.optimizer, "batches": self.batches}


def describe(row: dict[str, Any]) -> str:
    """A row of the training's log as one line."""
    return f"epoch {row['epoch']:3d}  loss {row['loss']:.3f}  {row['images_per_second']:.0f} images/s"


def run_training(
    folder: RunFolder,
    task: Task,
    architecture: Architecture,
    profile: Profile,
    *,
    seed: int,
    device: torch.device,
    weights: str | None = None,
) -> ReIDNetwork:
    """Train `architecture` on `task` in `folder`, from the start or from the last checkpoint of an earlier call.

    Writes config.json, log.jsonl, checkpoint.pt and, for a derived network, genotype.json there; returns the trained
    network on `device`. Raises `NasdaError` as `run_search` does.
    """
    space, settings, data = profile.space, profile.train, profile.data
    check_settings(space, settings, data)
    samples = split_for_training(task, settings, seed)
    config = as_config(
        kind="train",
        task=task.name,
        seed=seed,
        architecture=described(architecture),
        weights=weights,
        space=space,
        train=settings,
        data=data,
        precision=profile.compute.precision,
        seen=seen(task, *SIDES[settings.train_on]),
        classes=len({sample.pid for sample in samples}),
    )
    folder.check(config)  # before images are decoded
    batches = Batches(samples, data, settings.identities, settings.images, seed=seed, device=device, augmented=True)
    if batches.sampler.notice:
        tqdm.write(batches.sampler.notice)
    network = make_network(architecture, space, batches.classes, seed=seed, weights=weights)
    tqdm.write(f"network: {count_cost(network, data.height, data.width)}")
    training = Training(network, batches, profile, seed=seed, device=device)
    folder.begin(config)
    if isinstance(architecture, Genotype):
        architecture.save(folder.genotype)
    run_epochs(folder, training, settings.epochs, describe)
    return training.network


def load_trained(folder: RunFolder, device: torch.device) -> ReIDNetwork:
    """The network in `folder` after the last epoch that `run_training` completed. Raises `NasdaError` if there is
    none."""
    config = folder.read_config("architecture", "space", "classes")
    named = config["architecture"]
    architecture = named if isinstance(named, str) else Genotype.from_dict(named)
    space = folder.read_settings("space", SpaceSettings)
    network = make_network(architecture, space, config["classes"], seed=0)
    folder.restore("network", network, "run nasda train first")
    return network.to(device)
