"""The search as a whole run (Algorithm 1): ω learns on the source while α learns on a little of the target."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from nasda.bilevel import Bilevel, Differentiate, Losses, differentiate
from nasda.data.batches import Batches
from nasda.data.domain import Sample
from nasda.data.task import Task, hold_out, target_sample
from nasda.devices import autocast, seeded
from nasda.errors import NasdaError
from nasda.fast.graphs import BatchLoss, CudaGraphs, Recorded
from nasda.genotypes import CELL_KINDS, Genotype, entropy, skip_count
from nasda.losses import retrieval_loss, triplet_loss
from nasda.networks import EmbeddingHead, Supernet, count_cost
from nasda.runs import RunFolder, as_config, finite, run_epochs, run_steps, seen
from nasda.settings import ComputeSettings, Profile, SearchSettings, check_settings


def split_for_search(task: Task, settings: SearchSettings, seed: int) -> tuple[list[Sample], list[Sample]]:
    """What ω learns on and what α learns on.

    S+R: all of the source's training split, and `sample_images` an identity of the target's *training* split. S: the
    same number an identity held out of the source, and the rest. Neither ever sees a query or a gallery.
    """
    if settings.sample_images < 2 and not settings.literal:
        raise NasdaError(
            "--sample-images 1 leaves α's sample without a positive pair, so that its triplet loss is dead: "
            "take 2 or more, or ask for the paper's one-image mode (§3.1) with --literal"
        )
    if settings.mode == "S":
        return hold_out(task.source.train, settings.sample_images, seed)
    return task.source.train, target_sample(task.target, settings.sample_images, seed)


def differentiation(network: Supernet, settings: ComputeSettings, device: torch.device) -> Differentiate:
    """How the search gets its gradients: by computing them, or on CUDA by replaying what was recorded."""
    if settings.graphs and device.type == "cuda":
        return Recorded(network, CudaGraphs(device))
    return differentiate


class Search:
    """The state of a running search: supernet, optimizers, batches. `run_epochs` drives it."""

    def __init__(
        self,
        weight_samples: Sequence[Sample],
        alpha_samples: Sequence[Sample],
        profile: Profile,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        settings, data = profile.search, profile.data
        self.settings, self.compute, self.seed, self.device = settings, profile.compute, seed, device
        self.weight_batches = Batches(
            weight_samples, data, settings.identities, settings.images, seed=seed, device=device, augmented=True
        )
        # α's batches are as large as ω's, but never ask an identity for more images than the sample has of it.
        images = min(settings.images, settings.sample_images)
        self.alpha_batches = Batches(
            alpha_samples,
            data,
            settings.identities * settings.images // images,
            images,
            seed=seed + 1,
            device=device,
            augmented=False,
            fewer_identities=True,
        )
        self.weight_batches.check_triplets()
        if not settings.literal:
            self.alpha_batches.check_triplets()
        space, form = profile.space, profile.compute.form
        self.network = Supernet(space, self.weight_batches.classes, seed=seed, form=form).to(device)
        self.alpha_head = None
        if settings.alpha_loss == "retrieval":
            with seeded(seed, 1):
                width, classes = self.network.head.width, self.alpha_batches.classes
                self.alpha_head = EmbeddingHead(width, space.embedding, classes, space.dropout).to(device)

        fused = device.type == "cuda"  # one kernel for many tensors

        def sgd(parameters: Sequence[Tensor]) -> torch.optim.SGD:
            return torch.optim.SGD(
                parameters,
                settings.weights_lr,
                momentum=settings.momentum,
                weight_decay=settings.weights_decay,
                fused=fused,
            )

        self.bilevel = Bilevel(
            self.network,
            sgd(self.network.weight_parameters()),
            torch.optim.Adam(
                self.network.architecture_parameters(),
                settings.alphas_lr,
                weight_decay=settings.alphas_decay,
                fused=fused,
            ),
            order=settings.order,
            extra_optimizer=None if self.alpha_head is None else sgd(list(self.alpha_head.parameters())),
            differentiate=differentiation(self.network, profile.compute, device),
        )

    def features(self, images: Tensor) -> Tensor:
        """The feature f, computed in the precision asked for and float32 in the end: heads and losses stay exact."""
        with autocast(self.device, self.compute.precision):
            return self.network.features(images)

    def weight_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """L_train of eq. 4: the retrieval loss on the source."""
        features = self.features(images)
        logits = self.network.head(features)
        return retrieval_loss(features, logits, labels, margin=self.settings.margin, balance=self.settings.balance)

    def alpha_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """L_val of eq. 3. The identities are not the source's, so the source's logits mean nothing here: the triplet
        loss alone, on f as it is or at unit length, or the retrieval loss with a head of its own."""
        settings = self.settings
        features = self.features(images)
        if settings.alpha_loss == "unit-triplet":
            features = functional.normalize(features)
        if self.alpha_head is None:
            return triplet_loss(features, labels, settings.margin, literal=settings.literal)
        return retrieval_loss(
            features,
            self.alpha_head(features),
            labels,
            margin=settings.margin,
            balance=settings.balance,
            literal=settings.literal,
        )

    def step(self, epoch: int, index: int) -> Losses:
        """One bilevel step; every call of a loss within it sees the same batch and the same dropout."""
        return self.bilevel.step(
            BatchLoss(self.weight_loss, self.weight_batches.next(), (self.seed, epoch, index, 0)),
            BatchLoss(self.alpha_loss, self.alpha_batches.next(), (self.seed, epoch, index, 1)),
        )

    def epoch(self, index: int) -> dict[str, Any]:
        """One pass over the source; returns the log's row."""
        self.network.train()
        steps = min(len(self.weight_batches), self.settings.steps or len(self.weight_batches))
        losses, times = run_steps(
            lambda step: torch.stack(self.step(index, step)),
            steps,
            images=self.weight_batches.batch_size + self.alpha_batches.batch_size,
            device=self.device,
            name=f"search, epoch {index + 1}/{self.settings.epochs}",
        )
        advice = "lower --weights-lr or --alphas-lr"
        means = {
            "loss_weights": finite(losses[0], "the loss of ω", advice),
            "loss_alphas": finite(losses[1], "the loss of α", advice),
        }
        alphas, genotype = self.network.alpha_values(), self.network.genotype()
        return {
            "epoch": index + 1,
            **means,
            "entropy": {kind: float(np.mean(entropy(alphas[kind]))) for kind in CELL_KINDS},
            "skips": skip_count(genotype),
            "genotype": genotype.to_dict(),
            "alphas": alphas,
            **times,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "alpha_head": None if self.alpha_head is None else self.alpha_head.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.bilevel.optimizers.items()},
            "weight_batches": self.weight_batches.state_dict(),
            "alpha_batches": self.alpha_batches.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        if self.alpha_head is not None:
            self.alpha_head.load_state_dict(state["alpha_head"])
        for name, optimizer in self.bilevel.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.weight_batches.load_state_dict(state["weight_batches"])
        self.alpha_batches.load_state_dict(state["alpha_batches"])


def describe(row: dict[str, Any]) -> str:
    """A row of the search's log as one line."""
    genotype = Genotype.from_dict(row["genotype"])
    normal = " | ".join(" + ".join(f"{e.operation}←{e.input}" for e in node) for node in genotype.normal)
    return (
        f"epoch {row['epoch']:3d}  loss ω {row['loss_weights']:.3f}  α {row['loss_alphas']:.3f}  "
        f"entropy/edge {row['entropy']['normal']:.3f}/{row['entropy']['reduce']:.3f} nats  skips {row['skips']}  "
        f"{row['images_per_second']:.0f} images/s  normal {normal}"
    )


def search_config(task: Task, profile: Profile, *, seed: int) -> dict[str, Any]:
    """What decides a search, for its folder's config.json: mode S has seen nothing of the target."""
    parts = {"space": profile.space, "search": profile.search, "data": profile.data, "compute": profile.compute}
    check_settings(*parts.values())
    sides = seen(task, "source") if profile.search.mode == "S" else seen(task, "source", "target")
    return as_config(kind="search", task=task.name, seed=seed, **parts, seen=sides)


def run_search(folder: RunFolder, task: Task, profile: Profile, *, seed: int, device: torch.device) -> Genotype:
    """Search for the cells of `task` in `folder`, from the start or from where an earlier call was cut off.

    Leaves config.json, log.jsonl, checkpoint.pt and genotype.json there; returns the genotype. Raises `NasdaError` on
    settings that make no sense, and when the folder was begun with others, or on other data.
    """
    config = search_config(task, profile, seed=seed)
    shares = split_for_search(task, profile.search, seed)
    folder.check(config)  # before images are decoded
    search = Search(*shares, profile, seed=seed, device=device)
    for notice in (search.weight_batches.sampler.notice, search.alpha_batches.sampler.notice):
        if notice:
            tqdm.write(notice)
    tqdm.write(f"supernet: {count_cost(search.network, profile.data.height, profile.data.width)}")
    folder.begin(config)
    run_epochs(folder, search, profile.search.epochs, describe)
    genotype = search.network.genotype()
    genotype.save(folder.genotype)
    return genotype
