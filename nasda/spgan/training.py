"""SPGAN (Deng et al. 2018): the source's images in the target's style, learnt without labels and without pairs.

CycleGAN (Zhu et al. 2017) with one more term. G translates source to target, F target to source; a discriminator for
each domain tells translations from real images. The similarity term keeps the identity: a Siamese net compares images,
and an image and its translation should be near, a translation and an image of the other domain far, because no identity
is in both domains.

Images are (B, 3, H, W) in [−1, 1]. Only the training splits of source and target are used.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasda.data.domain import Sample
from nasda.data.store import stored
from nasda.data.task import Task
from nasda.devices import seeded
from nasda.errors import NasdaError
from nasda.runs import Run, RunFolder, as_config, finite, run_epochs, run_steps, seen
from nasda.settings import DataSettings, Profile, SPGANSettings, check_settings
from nasda.spgan.networks import Discriminator, Generator, SiameseNet, Translators, to_range

AfterEpoch = Callable[[int, Translators], None]


def adversarial_loss(scores: Tensor, real: bool) -> Tensor:
    """Least squares (Mao et al. 2017): how far a discriminator's `scores`, of any shape, are from 1 (`real`) or 0."""
    return (scores - float(real)).square().mean()


def contrastive_loss(first: Tensor, second: Tensor, same: bool, margin: float) -> Tensor:
    """The mean over pairs of embeddings (B, D) of d² for the `same` identity, else of max(0, margin − d)² (Hadsell et
    al. 2006, as in Deng et al. 2018); d is their Euclidean distance."""
    squared = (first - second).square().sum(dim=1)
    if same:
        return squared.mean()
    distance = squared.clamp(min=1e-12).sqrt()  # the slope of a square root at 0 is infinite
    return F.relu(margin - distance).square().mean()


class Batch(NamedTuple):
    """Images of both domains and their translations, all (B, 3, H, W)."""

    source: Tensor  # x
    target: Tensor  # y
    fake_target: Tensor  # G(x)
    fake_source: Tensor  # F(y)


def similarity_loss(siamese: SiameseNet, batch: Batch, margin: float) -> Tensor:
    """The mean contrastive loss of four kinds of pairs (Deng et al. 2018): x with G(x) and y with F(y) are the same,
    G(x) with y and F(y) with x are not. Pairs of x and y would teach a generator nothing."""
    x, y, fake_y, fake_x = siamese(torch.cat(batch)).chunk(4)
    alike = contrastive_loss(x, fake_y, True, margin) + contrastive_loss(y, fake_x, True, margin)
    unlike = contrastive_loss(fake_y, y, False, margin) + contrastive_loss(fake_x, x, False, margin)
    return (alike + unlike) / 4


def discriminator_loss(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Least squares on real and on translated images, halved as in CycleGAN: the discriminator learns more slowly."""
    return (adversarial_loss(discriminator(real), True) + adversarial_loss(discriminator(fake), False)) / 2


class GeneratorLosses(NamedTuple):
    """The generators' losses, unweighted, each a scalar summed over both directions."""

    adversarial: Tensor  # translations pass for real
    cycle: Tensor  # |F(G(x)) − x| and |G(F(y)) − y|, mean over pixels
    identity: Tensor  # |G(y) − y| and |F(x) − x|, mean over pixels
    similarity: Tensor  # 0 before its first epoch

    def total(self, settings: SPGANSettings) -> Tensor:
        """The weighted sum, SPGAN's whole objective."""
        weighted = settings.cycle * self.cycle, settings.identity * self.identity, settings.similarity * self.similarity
        return sum(weighted, start=self.adversarial)


LOGGED = (*GeneratorLosses._fields, "discriminators")  # the log's columns, in the order that `SPGAN.step` returns


def generator_losses(
    networks: Translators, source: Tensor, target: Tensor, margin: float, similar: bool
) -> tuple[GeneratorLosses, Batch]:
    """Translate a batch of each domain; returns the generators' losses and the translations. Without `similar` the
    similarity term is 0."""
    # Instance normalisation takes each image alone, so each generator translates both batches at once.
    fake_target, same_target = networks.to_target(torch.cat([source, target])).split([len(source), len(target)])
    fake_source, same_source = networks.to_source(torch.cat([target, source])).split([len(target), len(source)])
    batch = Batch(source, target, fake_target, fake_source)
    losses = GeneratorLosses(
        adversarial=adversarial_loss(networks.is_target(fake_target), True)
        + adversarial_loss(networks.is_source(fake_source), True),
        cycle=F.l1_loss(networks.to_source(fake_target), source) + F.l1_loss(networks.to_target(fake_source), target),
        identity=F.l1_loss(same_target, target) + F.l1_loss(same_source, source),
        similarity=similarity_loss(networks.siamese, batch, margin) if similar else source.new_zeros(()),
    )
    return losses, batch


def enlarged(side: int) -> int:
    """The size, always even, to which a `side` in pixels is enlarged before cropping: 286 for 256, 144 for 128."""
    return 2 * math.ceil(side * 143 / 256)


class Crops:
    """Endless batches of one domain, enlarged slightly, cropped and flipped at random.

    The images come in a shuffled order, each once before any comes twice. Raises `NasdaError` if there are fewer of
    them than a batch takes.
    """

    def __init__(
        self, samples: Sequence[Sample], data: DataSettings, batch_size: int, *, seed: int, device: torch.device
    ) -> None:
        if len(samples) < batch_size:
            raise NasdaError(
                f"--batch-size is {batch_size}: expected at most {len(samples)}, a domain's number of training images"
            )
        self.height, self.width, self.flip = data.height, data.width, data.flip
        self.batch_size, self.device = batch_size, device
        self.pixels = stored(samples, enlarged(data.height), enlarged(data.width))
        self.generator = torch.Generator().manual_seed(seed)
        self.waiting = torch.empty(0, dtype=torch.long)  # the rest of the shuffled order

    def __len__(self) -> int:
        """Batches in one pass over the images."""
        return len(self.pixels) // self.batch_size

    def next(self) -> Tensor:
        """The next batch: float32 (batch size, 3, height, width) in [−1, 1], on the device."""
        if len(self.waiting) < self.batch_size:
            self.waiting = torch.cat([self.waiting, torch.randperm(len(self.pixels), generator=self.generator)])
        chosen, self.waiting = self.waiting[: self.batch_size], self.waiting[self.batch_size :]
        crops = torch.stack([self._crop(self.pixels[index]) for index in chosen.tolist()])
        return to_range(crops.to(self.device))

    def _crop(self, image: Tensor) -> Tensor:
        _, high, wide = image.shape
        room = high - self.height, wide - self.width
        top, left = (int(torch.randint(most + 1, (), generator=self.generator)) for most in room)
        crop = image[:, top : top + self.height, left : left + self.width]
        return crop.flip(2) if torch.rand((), generator=self.generator) < self.flip else crop

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "waiting": self.waiting.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.waiting = state["waiting"].clone()


class ImagePool:
    """Earlier translations (Shrivastava et al. 2017, §2.3), which the discriminator sees again to remember them."""

    def __init__(self, size: int, *, seed: int) -> None:
        """`size`: how many images it holds; with 0 `exchange` returns its argument."""
        self.size = size
        self.images: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(seed)

    def exchange(self, images: Tensor) -> Tensor:
        """As many images (B, C, H, W) as are given. While the pool fills, these; then each with probability ½ takes the
        place of one in the pool, which is returned instead."""
        return torch.stack([self._exchange_one(image) for image in images.detach()])

    def _exchange_one(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if self.size == 0 or torch.rand((), generator=self.generator) < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self.generator))
        old, self.images[place] = self.images[place], image
        return old.to(image.device)  # one from a checkpoint lies on the CPU

    def state_dict(self) -> dict[str, Any]:
        # Cloned, because an image is a view of its batch, and torch.save would write the whole batch.
        return {"generator": self.generator.get_state(), "images": [image.clone() for image in self.images]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.images = list(state["images"])


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within the block gradients pass through `networks`, but their parameters get none."""
    together = nn.ModuleList(networks).requires_grad_(False)
    try:
        yield
    finally:
        together.requires_grad_(True)


class SPGAN(Run):
    """A run that learns to translate: networks, optimizers, images, pools."""

    def __init__(
        self,
        source: Sequence[Sample],
        target: Sequence[Sample],
        profile: Profile,
        *,
        seed: int,
        device: torch.device,
        after_epoch: AfterEpoch | None = None,
    ) -> None:
        """`after_epoch` is called with the epoch, counted from 1, and the networks, before the epoch's checkpoint."""
        settings, data = profile.spgan, profile.data
        self.settings, self.seed, self.after_epoch = settings, seed, after_epoch
        self.networks = make_translators(settings, data, seed=seed).to(device)
        self.source = Crops(source, data, settings.batch_size, seed=seed, device=device)
        self.target = Crops(target, data, settings.batch_size, seed=seed + 1, device=device)
        self.fake_targets = ImagePool(settings.pool, seed=seed + 2)
        self.fake_sources = ImagePool(settings.pool, seed=seed + 3)
        self.steps = min(len(self.source), settings.steps or len(self.source))
        self.generators = nn.ModuleList([self.networks.to_target, self.networks.to_source])
        self.discriminators = nn.ModuleList([self.networks.is_target, self.networks.is_source])
        trained = (self.generators, self.discriminators, self.networks.siamese)
        self.optimizers = {
            name: torch.optim.Adam(part.parameters(), settings.lr, betas=(0.5, 0.999))
            for name, part in zip(("generators", "discriminators", "siamese"), trained, strict=True)
        }

    def step(self, epoch: int, index: int) -> Tensor:
        """Update generators, discriminators and Siamese net in turn, each with the others fixed. Returns the losses of
        the generators (four) and of the discriminators before their updates: (5,)."""
        source, target = self.source.next(), self.target.next()
        similar = epoch + 1 >= self.settings.similarity_epoch
        with seeded(self.seed, epoch, index):  # for the Siamese net's dropout
            losses, batch = self.step_generators(source, target, similar)
            batch = Batch(*(images.detach() for images in batch))
            of_discriminators = self.step_discriminators(batch)
            if similar:
                self.step_siamese(batch)
        return torch.stack([*losses, of_discriminators]).detach()

    def step_generators(self, source: Tensor, target: Tensor, similar: bool) -> tuple[GeneratorLosses, Batch]:
        """One update of G and F alone."""
        with frozen(self.discriminators, self.networks.siamese):
            losses, batch = generator_losses(self.networks, source, target, self.settings.margin, similar)
            self._update("generators", losses.total(self.settings))
        return losses, batch

    def step_discriminators(self, batch: Batch) -> Tensor:
        """One update of D_T and D_S alone; some of the translations come from the pools."""
        fake_target = self.fake_targets.exchange(batch.fake_target)
        fake_source = self.fake_sources.exchange(batch.fake_source)
        loss = discriminator_loss(self.networks.is_target, batch.target, fake_target)
        loss = loss + discriminator_loss(self.networks.is_source, batch.source, fake_source)
        self._update("discriminators", loss)
        return loss

    def step_siamese(self, batch: Batch) -> None:
        """One update of the Siamese net alone."""
        self._update("siamese", similarity_loss(self.networks.siamese, batch, self.settings.margin))

    def _update(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()

    def epoch(self, index: int) -> dict[str, Any]:
        """One pass over the source; returns the log's row."""
        self.networks.train()
        losses, times = run_steps(
            lambda step: self.step(index, step),
            self.steps,
            images=self.source.batch_size,
            device=self.source.device,
            name=f"translate, epoch {index + 1}/{self.settings.epochs}",
        )
        named = zip(LOGGED, losses, strict=True)
        means = {name: finite(loss, f"the loss called {name}", "lower --lr") for name, loss in named}
        if self.after_epoch is not None:
            self.after_epoch(index + 1, self.networks)
        return {"epoch": index + 1, **means, **times}

    def parts(self) -> dict[str, Any]:
        return {
            "networks": self.networks,
            **{f"optimizer of {name}": optimizer for name, optimizer in self.optimizers.items()},
            "source": self.source,
            "target": self.target,
            "fake targets": self.fake_targets,
            "fake sources": self.fake_sources,
        }


def make_translators(settings: SPGANSettings, data: DataSettings, *, seed: int) -> Translators:
    """The untrained networks that `settings` describe, for images of `data`'s size."""
    return Translators(settings.channels, settings.blocks, data.height, data.width, seed=seed)


def describe(row: dict[str, Any]) -> str:
    """A row of the log as one line."""
    losses = "  ".join(f"{name} {row[name]:.3f}" for name in LOGGED)
    return f"epoch {row['epoch']:3d}  {losses}  {row['images_per_second']:.1f} images/s"


def run_spgan(
    folder: RunFolder,
    task: Task,
    profile: Profile,
    *,
    seed: int,
    device: torch.device,
    after_epoch: AfterEpoch | None = None,
) -> Generator:
    """Learn to translate `task`'s source in `folder`, from the start or from where an earlier call was interrupted.

    Writes config.json, log.jsonl and checkpoint.pt; returns G, the generator from source to target, on `device`. Raises
    `NasdaError` like `run_search` and `check_size`.
    """
    check_settings(profile.spgan, profile.data)
    parts = {"spgan": profile.spgan, "data": profile.data, "seen": seen(task, "source", "target")}
    config = as_config(kind="spgan", task=task.name, seed=seed, **parts)
    folder.check(config)  # before images are decoded
    train = task.source.train, task.target.train
    spgan = SPGAN(*train, profile, seed=seed, device=device, after_epoch=after_epoch)
    folder.begin(config)
    run_epochs(folder, spgan, profile.spgan.epochs, describe)
    return spgan.networks.to_target
