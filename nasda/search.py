"""The search as a whole run (Algorithm 1): ω learns on the source while α learns on a little of the target."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from nasda.bilevel import Bilevel, Differentiate, Losses, differentiate, frozen_statistics
from nasda.data.batches import Batches
from nasda.data.domain import JUNK, Sample
from nasda.data.images import normalize
from nasda.data.task import Task, hold_out, target_sample
from nasda.devices import autocast, seeded
from nasda.errors import NasdaError
from nasda.fast.graphs import BatchLoss, CudaGraphs, Recorded
from nasda.genotypes import CELL_KINDS, Genotype, entropy, skip_count
from nasda.losses import (
    beta_regulariser,
    class_centres,
    memory_loss,
    mmd,
    move_centres,
    retrieval_loss,
    triplet_loss,
)
from nasda.networks import EmbeddingHead, Supernet, count_cost
from nasda.runs import Run, RunFolder, as_config, finite, run_epochs, run_steps, seen, taking_back
from nasda.settings import ComputeSettings, DataSettings, Profile, SearchSettings, SpaceSettings, check_settings

PARTS = {"space": SpaceSettings, "search": SearchSettings, "data": DataSettings, "compute": ComputeSettings}


def split_for_search(task: Task, settings: SearchSettings, seed: int) -> tuple[list[Sample], list[Sample]]:
    """The images that ω learns on, and those that α learns on, neither with a query or a gallery.

    S+R: ω has the source's training split, α `sample_images` an identity of the target's *training* split. S: α has as
    many images an identity of the source's training split, ω has the rest of it; with `hold_out` it has no more in S+R.
    With the mmd loss α has those held-out source images, and the target's whole training split without its labels:
    there every `pid` is JUNK.
    """
    unlabelled = settings.alpha_loss == "mmd"
    if unlabelled and settings.mode == "S":
        raise NasdaError(
            "--alpha-loss mmd compares source and target, but in --mode S α sees no target: "
            "take --mode S+R, or another --alpha-loss"
        )
    if settings.sample_images < 2 and not settings.literal:
        raise NasdaError(
            "--sample-images 1 leaves α's sample without a positive pair, so that its triplet loss is always 0: "
            "take 2 or more, or the paper's one-image mode (§3.1) with --literal"
        )
    if settings.mode == "S":
        return hold_out(task.source.train, settings.sample_images, seed)
    for_weights, held = task.source.train, list[Sample]()
    if settings.hold_out or unlabelled:
        for_weights, held = hold_out(for_weights, settings.sample_images, seed)
    if unlabelled:
        return for_weights, held + [sample._replace(pid=JUNK) for sample in sorted(task.target.train)]
    return for_weights, target_sample(task.target, settings.sample_images, seed)


def differentiation(network: Supernet, settings: ComputeSettings, device: torch.device) -> Differentiate:
    """How the search gets its gradients: by computing them or, on CUDA, by replaying a recorded computation."""
    if settings.graphs and device.type == "cuda":
        return Recorded(network, CudaGraphs(device))
    return differentiate


class Search(Run):
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
        settings, data, space = profile.search, profile.data, profile.space
        self.settings, self.compute, self.seed, self.device = settings, profile.compute, seed, device
        self.weight_batches = Batches(
            weight_samples, data, settings.identities, settings.images, seed=seed, device=device, augmented=True
        )
        for_alphas = partial(Batches, data=data, device=device, augmented=False, fewer_identities=True)
        # α's batches are as large as ω's, but with no more images of an identity than the sample has.
        images = min(settings.images, settings.sample_images)
        size = settings.identities * settings.images
        labelled = [sample for sample in alpha_samples if sample.pid != JUNK]
        self.alpha_batches = for_alphas(labelled, identities=size // images, images=images, seed=seed + 1)
        self.unlabelled_batches = None
        if settings.alpha_loss == "mmd":  # each image as an identity of its own: so all are sampled alike
            each = [s._replace(pid=i) for i, s in enumerate(s for s in alpha_samples if s.pid == JUNK)]
            count = self.alpha_batches.batch_size
            self.unlabelled_batches = for_alphas(each, identities=count, images=1, seed=seed + 2)
        self.weight_batches.check_triplets()
        if not settings.literal:
            self.alpha_batches.check_triplets()
        classes, form = self.weight_batches.classes, profile.compute.form
        self.network = Supernet(space, classes, seed=seed, form=form).to(device)
        self.alpha_head = None
        if settings.alpha_loss == "retrieval":
            with seeded(seed, 1):
                width, classes = self.network.head.width, self.alpha_batches.classes
                self.alpha_head = EmbeddingHead(width, space.embedding, classes, space.dropout).to(device)

        # What α's loss holds fixed within a step. Recorded computations read this memory, so it changes in place.
        self.decay = torch.zeros((), device=device)  # β-DARTS' λ of this epoch
        width = self.network.head.width
        self.centres = torch.zeros(self.alpha_batches.classes, width, device=device)
        self.batch_centres = torch.zeros_like(self.centres)  # of α's last batch

        fused = device.type == "cuda"  # one kernel for many tensors
        sgd = partial(
            torch.optim.SGD,
            lr=settings.weights_lr,
            momentum=settings.momentum,
            weight_decay=settings.weights_decay,
            fused=fused,
        )
        alphas = self.network.architecture_parameters()
        self.bilevel = Bilevel(
            self.network,
            sgd(self.network.weight_parameters()),
            torch.optim.Adam(alphas, settings.alphas_lr, weight_decay=settings.alphas_decay, fused=fused),
            order=settings.order,
            extra_optimizer=None if self.alpha_head is None else sgd(self.alpha_head.parameters()),
            differentiate=differentiation(self.network, profile.compute, device),
        )

    def features(self, images: Tensor) -> Tensor:
        """The feature f: computed in the chosen precision, returned as float32 for the heads and losses."""
        with autocast(self.device, self.compute.precision):
            return self.network.features(images)

    def weight_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """L_train of eq. 4: the retrieval loss on the source."""
        return self._retrieval_loss(self.features(images), labels, self.network.head)

    def exact_weight_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """L_train with its features computed in float32, for the second order's finite difference."""
        return self._retrieval_loss(self.network.features(images), labels, self.network.head)

    def _retrieval_loss(self, features: Tensor, labels: Tensor, head: EmbeddingHead) -> Tensor:
        margin, balance, literal = self.settings.margin, self.settings.balance, self.settings.literal
        return retrieval_loss(features, head(features), labels, margin=margin, balance=balance, literal=literal)

    def alpha_loss(self, images: Tensor, labels: Tensor, unlabelled: Tensor | None = None) -> Tensor:
        """L_val of eq. 3 on a batch of `next_alpha_batch`. α's images show other identities than the source, so the
        source's logits are of no use. The loss is, by `alpha_loss` of the settings,

        - triplet, unit-triplet: the triplet loss alone, on f or on f/‖f‖;
        - retrieval: eq. 9 with a separate head;
        - memory: contrast with the centres of all identities in α's sample; `begin_epoch` computes them and `step`
          moves them, after its updates, by the features that the loss saw;
        - mmd: the triplet loss on labelled source images, and `mmd_weight` times MMD² between their f and that of
          `unlabelled` target images.

        mmd sends both domains through the network together, so that batch norm takes the statistics of both. If each
        had its own, the gap that MMD² is to measure would be normalised away, as no test with one set of statistics
        does. To all of them `beta_decay` adds β-DARTS' regulariser.
        """
        settings = self.settings
        with self._alpha_statistics():
            features = self.features(images if unlabelled is None else torch.cat([images, unlabelled]))
        loss = self._alpha_loss(features[: len(labels)], labels)
        if unlabelled is not None:
            loss = loss + settings.mmd_weight * mmd(features[: len(labels)], features[len(labels) :])
        if settings.beta_decay:
            loss = loss + self.decay * beta_regulariser(self.network.alphas.values())
        return loss

    def _alpha_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """The labelled part of α's loss."""
        settings = self.settings
        if self.alpha_head is not None:
            return self._retrieval_loss(features, labels, self.alpha_head)
        if settings.alpha_loss == "memory":
            self.batch_centres.copy_(class_centres(features.detach(), labels, len(self.centres)))
            return memory_loss(features, labels, self.centres, settings.temperature)
        if settings.alpha_loss == "unit-triplet":
            features = functional.normalize(features)
        return triplet_loss(features, labels, settings.margin, literal=settings.literal)

    @contextmanager
    def _alpha_statistics(self) -> Iterator[None]:
        """Let batch norm take the source's running statistics in the block, as the test will, if that is chosen."""
        was_training = self.network.training
        self.network.train(self.settings.alpha_statistics == "batch")
        try:
            yield
        finally:
            self.network.train(was_training)

    def begin_epoch(self, index: int) -> None:
        """Set what α's loss holds fixed: the weight of β-DARTS' regulariser, which grows linearly from 0, and the class
        centres of the memory. Both follow from the epoch and the network, so that no checkpoint needs them."""
        self.decay.fill_(self.settings.beta_decay * index / self.settings.epochs)
        if self.settings.alpha_loss == "memory":
            self._compute_centres()

    @torch.no_grad()
    def _compute_centres(self) -> None:
        """Take the centre of every identity from all images of α's sample, with the statistics that α's loss takes.
        They come sorted by identity, so a batch of them is much like one of α's."""
        batches = self.alpha_batches
        parts = batches.pixels.tensor_split(-(-len(batches.labels) // batches.batch_size))
        with frozen_statistics(self.network), self._alpha_statistics():
            images = (normalize(part.to(self.device).permute(0, 3, 1, 2)) for part in parts)
            features = torch.cat([self.features(batch) for batch in images])
        self.centres.copy_(class_centres(features, batches.labels.to(self.device), batches.classes))

    def next_alpha_batch(self) -> tuple[Tensor, ...]:
        """The next arguments of `alpha_loss`."""
        batch = self.alpha_batches.next()
        return batch if self.unlabelled_batches is None else (*batch, self.unlabelled_batches.next()[0])

    def step(self, epoch: int, index: int) -> Losses:
        """One bilevel step; all calls of a loss in it see the same batch and the same dropout."""
        batch = self.next_alpha_batch()
        for_weights = BatchLoss(self.weight_loss, self.weight_batches.next(), (self.seed, epoch, index, 0))
        for_alphas = BatchLoss(self.alpha_loss, batch, (self.seed, epoch, index, 1))
        losses = self.bilevel.step(for_weights, for_alphas, replace(for_weights, function=self.exact_weight_loss))
        if self.settings.alpha_loss == "memory":
            move_centres(self.centres, self.batch_centres)
        return losses

    def epoch(self, index: int) -> dict[str, Any]:
        """One pass over the source; returns the log's row."""
        self.network.train()
        self.begin_epoch(index)
        unlabelled = self.unlabelled_batches.batch_size if self.unlabelled_batches else 0
        steps = min(len(self.weight_batches), self.settings.steps or len(self.weight_batches))
        losses, times = run_steps(
            lambda step: torch.stack(self.step(index, step)),
            steps,
            images=self.weight_batches.batch_size + self.alpha_batches.batch_size + unlabelled,
            device=self.device,
            name=f"search, epoch {index + 1}/{self.settings.epochs}",
        )
        advice = "lower --weights-lr or --alphas-lr"
        means = {name: finite(loss, f"the loss of {name}", advice) for name, loss in zip("ωα", losses, strict=True)}
        alphas, betas, genotype = self.network.alpha_values(), self.network.beta_values(), self.network.genotype()
        return {
            "epoch": index + 1,
            "loss_weights": means["ω"],
            "loss_alphas": means["α"],
            "entropy": {kind: float(np.mean(entropy(alphas[kind]))) for kind in CELL_KINDS},
            "skips": skip_count(genotype),
            "genotype": genotype.to_dict(),
            "alphas": alphas,
            **({"betas": betas} if betas else {}),
            **times,
        }

    def parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            **({} if self.alpha_head is None else {"alpha_head": self.alpha_head}),
            **{f"optimizer of {name}": optimizer for name, optimizer in self.bilevel.optimizers.items()},
            "weight_batches": self.weight_batches,
            "alpha_batches": self.alpha_batches,
            **({} if self.unlabelled_batches is None else {"unlabelled_batches": self.unlabelled_batches}),
        }


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
    """What a search depends on, for its folder's config.json. In mode S the target is not part of it."""
    parts = {name: getattr(profile, name) for name in PARTS}
    check_settings(*parts.values())
    sides = seen(task, "source") if profile.search.mode == "S" else seen(task, "source", "target")
    return as_config(kind="search", task=task.name, seed=seed, **parts, seen=sides)


def run_search(folder: RunFolder, task: Task, profile: Profile, *, seed: int, device: torch.device) -> Genotype:
    """Search for the cells of `task` in `folder`, from the start or from the last checkpoint of an earlier call.

    Writes config.json, log.jsonl, checkpoint.pt and genotype.json there; returns the genotype. Raises `NasdaError` if a
    setting makes no sense, or if the folder was begun with other settings or on other data.
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


def finished_search(folder: RunFolder, task: Task, device: torch.device) -> Search:
    """The search in `folder` after its last epoch, with its own settings. Raises `NasdaError` if it is not finished, or
    was begun on other data."""
    seed = folder.read_config("seed")["seed"]
    profile = Profile(**{name: folder.read_settings(name, kind) for name, kind in PARTS.items()})
    folder.check(search_config(task, profile, seed=seed))
    state = folder.load_checkpoint()
    epochs = 0 if state is None else len(json.loads(state["history"]))
    if state is None or epochs < profile.search.epochs:
        raise NasdaError(
            f"{folder.path}: the search has run {epochs} of its {profile.search.epochs} epochs: "
            "run the nasda search that began it again to finish it"
        )
    search = Search(*split_for_search(task, profile.search, seed), profile, seed=seed, device=device)
    with taking_back(folder.checkpoint):
        search.load_state_dict(state["run"])
    search.begin_epoch(epochs - 1)
    search.bilevel.differentiate = differentiate  # a recorded computation would not see that the mixture changes
    return search
