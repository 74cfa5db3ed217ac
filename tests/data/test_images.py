"""`nasda.data.images`: decoding says which file is broken; augmenting a batch is torchvision, image by image."""

from collections.abc import Callable
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from nasda.data import images as room
from nasda.data.domain import Sample
from nasda.data.images import Augmentation, augment, decode, draw, normalize
from nasda.errors import NasdaError
from tests.marks import needs_cuda


def picture(seed: int, height: int = 40, width: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(folder: Path, name: str, image: Image.Image) -> Sample:
    image.save(folder / name)
    return Sample(folder / name, 1, 1)


def batch(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


class TestDecode:
    def test_keeps_the_order_and_resizes_as_pillow_does(self, tmp_path: Path) -> None:
        pictures = [picture(seed, 30 + seed, 20 + seed) for seed in range(12)]
        samples = [saved(tmp_path, f"{seed}.png", image) for seed, image in enumerate(pictures)]
        decoded = decode(samples, 16, 8)
        assert decoded.dtype == torch.uint8
        assert decoded.shape == (12, 3, 16, 8)
        assert decoded.is_contiguous(memory_format=torch.channels_last)
        for image, tensor in zip(pictures, decoded, strict=True):
            expected = np.asarray(image.resize((8, 16), Image.Resampling.BILINEAR))
            assert np.array_equal(tensor.permute(1, 2, 0).numpy(), expected)

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
    def test_every_mode_becomes_rgb(self, tmp_path: Path, mode: str) -> None:
        sample = saved(tmp_path, "image.tif", picture(0).convert(mode))
        assert decode([sample], 8, 4).shape == (1, 3, 8, 4)

    def test_nothing_to_decode(self) -> None:
        assert decode([], 8, 4).shape == (0, 3, 8, 4)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "tif"])
    def test_a_truncated_file_is_named(self, tmp_path: Path, suffix: str) -> None:
        good = saved(tmp_path, "good.png", picture(0))
        broken = saved(tmp_path, f"broken.{suffix}", picture(1))
        content = broken.path.read_bytes()
        broken.path.write_bytes(content[: len(content) // 2])
        with pytest.raises(NasdaError) as caught:
            decode([good, broken, good], 8, 4)
        self.check_line(caught.value, broken.path)

    @pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff\xe0"])
    def test_a_file_that_is_no_image_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "0001_c1s1_000001_00.jpg"
        path.write_bytes(content)
        with pytest.raises(NasdaError) as caught:
            decode([Sample(path, 1, 1)], 8, 4)
        self.check_line(caught.value, path)

    def test_a_missing_file_and_a_folder_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "folder.jpg").mkdir()
        for name in ("missing.jpg", "folder.jpg"):
            with pytest.raises(NasdaError) as caught:
                decode([Sample(tmp_path / name, 1, 1)], 8, 4)
            self.check_line(caught.value, tmp_path / name)

    @staticmethod
    def check_line(error: NasdaError, path: Path) -> None:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        assert str(error).endswith("copy or unpack it again, or remove it")


def test_normalize_is_torchvisions_and_leaves_its_input_alone() -> None:
    images = batch(4, 9, 7)
    before = images.clone()
    expected = F.normalize(F.to_dtype(images, torch.float32, scale=True), list(room.MEAN), list(room.STD))
    torch.testing.assert_close(normalize(images), expected, rtol=0, atol=1e-6)
    assert torch.equal(images, before)

    laid_out = normalize(images.contiguous(memory_format=torch.channels_last))
    assert laid_out.is_contiguous(memory_format=torch.channels_last)
    assert same_bits(laid_out, normalize(images))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal, and -0 is not 0."""
    return torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))


def one_by_one(images: torch.Tensor, variation: room.Variation, padding: int) -> torch.Tensor:
    """What `apply` does, by torchvision's functions, for each image alone."""
    _, _, height, width = images.shape
    results = []
    for image, flip, top, left, i, j, h, w in zip(images, *(part.tolist() for part in variation), strict=True):
        flipped = F.horizontal_flip(image) if flip else image
        cropped = F.crop(F.pad(flipped, [padding]), top, left, height, width)
        normalized = F.normalize(F.to_dtype(cropped, torch.float32, scale=True), list(room.MEAN), list(room.STD))
        results.append(F.erase(normalized, i, j, h, w, torch.zeros(3, h, w)) if h else normalized)
    return torch.stack(results)


def pixel_by_pixel(images: torch.Tensor, variation: room.Variation, padding: int) -> torch.Tensor:
    """What `apply` does, from its definition: for each pixel of the result, where it comes from. Slow and plain."""
    _, channels, height, width = images.shape
    value = [[(np.float32(v) - np.float32(255 * m)) / np.float32(255 * s) for v in range(256)] for m, s in MEAN_STD]
    result = np.zeros(images.shape, dtype=np.float32)
    rows = zip(images.tolist(), *(part.tolist() for part in variation), strict=True)
    for index, (image, flip, top, left, i, j, h, w) in enumerate(rows):
        for y, x in np.ndindex(height, width):
            if i <= y < i + h and j <= x < j + w:
                continue
            source_y, source_x = y + top - padding, x + left - padding
            inside = 0 <= source_y < height and 0 <= source_x < width
            if flip:
                source_x = width - 1 - source_x
            for channel in range(channels):
                pixel = image[channel][source_y][source_x] if inside else 0
                result[index, channel, y, x] = value[channel][pixel]
    return torch.from_numpy(result)


MEAN_STD = list(zip(room.MEAN, room.STD, strict=True))
WAYS = [room._apply_in_turn, room._apply_at_once]
FORMATS = [torch.contiguous_format, torch.channels_last]
SIZES = [(64, 32, 4), (33, 17, 3), (256, 128, 10), (16, 16, 0), (5, 3, 10)]


class TestAugment:
    @pytest.mark.parametrize(("height", "width", "padding"), SIZES)
    def test_equals_torchvision_image_by_image(self, height: int, width: int, padding: int) -> None:
        images, settings = batch(24, height, width), Augmentation(padding=padding)
        generator = torch.Generator().manual_seed(7)
        variation = draw(24, height, width, generator, settings)
        result = room.apply(images, variation, padding)
        assert result.dtype == torch.float32
        assert result.is_contiguous()
        torch.testing.assert_close(result, one_by_one(images, variation, padding), rtol=0, atol=1e-6)
        assert torch.equal(result, augment(images, torch.Generator().manual_seed(7), settings))

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("memory_format", FORMATS)
    @pytest.mark.parametrize(("height", "width", "padding"), [(16, 8, 3), (9, 7, 0), (5, 3, 10)])
    def test_every_way_gives_the_plain_definitions_bits_in_the_images_own_layout(
        self, way: Callable, memory_format: torch.memory_format, height: int, width: int, padding: int
    ) -> None:
        images = batch(24, height, width)
        variation = draw(24, height, width, torch.Generator().manual_seed(1), Augmentation(padding=padding))
        result = way(images.contiguous(memory_format=memory_format), variation, padding)
        assert result.is_contiguous(memory_format=memory_format)
        assert same_bits(result, pixel_by_pixel(images, variation, padding))

    @pytest.mark.parametrize(("height", "width", "padding"), SIZES)
    def test_both_ways_agree_to_the_bit(self, height: int, width: int, padding: int) -> None:
        images = batch(24, height, width)
        variation = draw(24, height, width, torch.Generator().manual_seed(2), Augmentation(padding=padding))
        in_turn, at_once = (way(images, variation, padding) for way in WAYS)
        assert same_bits(in_turn, at_once)

    def test_the_generator_alone_decides(self) -> None:
        images = batch(16, 32, 16)
        global_state = torch.get_rng_state()
        generator = torch.Generator().manual_seed(3)
        state = generator.get_state()
        first, second = augment(images, generator), augment(images, generator)
        torch.manual_seed(99)
        generator.set_state(state)
        assert torch.equal(augment(images, generator), first)
        assert not torch.equal(first, second)
        torch.set_rng_state(global_state)
        augment(images, generator)
        assert torch.equal(torch.get_rng_state(), global_state)

    def test_samples_of_a_batch_differ(self) -> None:
        same = batch(1, 64, 32).expand(32, -1, -1, -1)
        result = augment(same, torch.Generator().manual_seed(0))
        assert len(torch.unique(result.flatten(1), dim=0)) > 25  # of 882 flips and crops, two may well be the same

    def test_nothing_switched_on_is_normalize(self) -> None:
        images = batch(4, 20, 10)
        result = augment(images, torch.Generator(), Augmentation(flip=0, padding=0, erasing=0))
        assert torch.equal(result, normalize(images))

    def test_what_is_padded_is_black_and_what_is_erased_is_the_mean(self) -> None:
        white = torch.full((64, 3, 32, 16), 255, dtype=torch.uint8)
        result = augment(white, torch.Generator().manual_seed(0), Augmentation(padding=6))
        black, mean, full = (normalize(torch.full((1, 3, 1, 1), value, dtype=torch.uint8)) for value in (0, 0, 255))
        mean = torch.zeros_like(mean)
        kinds = torch.stack([torch.isclose(result, colour).all(dim=1) for colour in (black, mean, full)])
        assert (kinds.sum(dim=0) == 1).all()
        assert kinds.flatten(1).any(dim=1).all()

    @pytest.mark.parametrize("way", WAYS)
    def test_an_empty_batch(self, way: Callable) -> None:
        variation = draw(0, 8, 4, torch.Generator(), Augmentation())
        assert way(batch(0, 8, 4), variation, 10).shape == (0, 3, 8, 4)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"flip": 1.5},
            {"erasing": -0.1},
            {"padding": -1},
            {"erasing_area": (0.4, 0.02)},
            {"erasing_ratio": (0.0, 1.0)},
            {"flip": float("nan")},
        ],
    )
    def test_settings_out_of_range_are_named(self, wrong: dict) -> None:
        with pytest.raises(NasdaError, match=next(iter(wrong))):
            Augmentation(**wrong)


class TestDraw:
    COUNT = 20_000

    @pytest.fixture
    def variation(self) -> room.Variation:
        return draw(self.COUNT, 256, 128, torch.Generator().manual_seed(0), Augmentation())

    def test_shares_and_crops_are_uniform(self, variation: room.Variation) -> None:
        erased = variation.erase_height > 0
        assert variation.flip.float().mean() == pytest.approx(0.5, abs=0.02)
        assert erased.float().mean() == pytest.approx(0.5, abs=0.02)
        for start in (variation.top, variation.left):
            counts = torch.bincount(start, minlength=21).float()
            assert len(counts) == 21
            expected = self.COUNT / 21
            assert ((counts - expected) ** 2 / expected).sum() < 45  # 99.9 % of χ² with 20 degrees of freedom
        together = torch.stack([variation.flip, variation.top, variation.left, erased.long()]).float()
        assert (torch.corrcoef(together) - torch.eye(4)).abs().max() < 0.03

    def test_rectangles_lie_inside(self, variation: room.Variation) -> None:
        assert (variation.erase_top >= 0).all()
        assert (variation.erase_left >= 0).all()
        assert (variation.erase_top + variation.erase_height <= 256).all()
        assert (variation.erase_left + variation.erase_width <= 128).all()

    def test_rectangles_are_distributed_as_torchvisions(self, variation: room.Variation) -> None:
        erasing = v2.RandomErasing(p=1, scale=(0.02, 0.4), ratio=(0.3, 3.33))
        image = torch.zeros(3, 256, 128)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            drawn = [erasing.make_params([image]) for _ in range(5_000)]
        theirs = torch.tensor([[p["i"], p["j"], p["h"], p["w"]] for p in drawn], dtype=torch.float64)
        ours = torch.stack(variation[3:]).T[variation.erase_height > 0].double()
        for describe in (
            lambda r: r[:, 2] * r[:, 3] / (256 * 128),  # area
            lambda r: (r[:, 2] / r[:, 3]).log(),  # ratio
            lambda r: r[:, 0] / (256 - r[:, 2]),  # position
            lambda r: r[:, 1] / (128 - r[:, 3]),
        ):
            assert kolmogorov_smirnov(describe(ours), describe(theirs)) < 1.95 * (1 / len(ours) + 1 / 5_000) ** 0.5

    def test_area_and_ratio_keep_their_bounds(self, variation: room.Variation) -> None:
        erased = variation.erase_height > 0
        height, width = variation.erase_height[erased].double(), variation.erase_width[erased].double()
        area, ratio = height * width / (256 * 128), height / width
        assert 0.019 < area.min() < 0.03
        assert 0.35 < area.max() < 0.41
        assert exp(log(0.3) - 0.05) < ratio.min()
        assert ratio.max() < exp(log(3.33) + 0.05)

    def test_edges_are_rounded_to_the_nearest_pixel(self) -> None:
        settings = Augmentation(erasing=1, erasing_area=(0.15, 0.15), erasing_ratio=(1, 1))
        variation = draw(5, 64, 32, torch.Generator().manual_seed(0), settings)
        assert variation.erase_height.tolist() == variation.erase_width.tolist() == [18] * 5  # √(0.15·64·32) = 17.53

    def test_a_rectangle_that_never_fits_is_not_erased(self) -> None:
        settings = Augmentation(erasing=1, erasing_area=(1, 1), erasing_ratio=(1, 1))
        variation = draw(50, 64, 32, torch.Generator().manual_seed(0), settings)
        assert not variation.erase_height.any()
        assert not variation.erase_width.any()


def kolmogorov_smirnov(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest distance between two samples' distribution functions."""
    a, b = a.sort().values, b.sort().values
    points = torch.cat([a, b])
    shares = [torch.searchsorted(values, points, right=True) / len(values) for values in (a, b)]
    return float((shares[0] - shares[1]).abs().max())


@needs_cuda
def test_cuda_gives_the_same_batch_without_waiting() -> None:
    images = batch(32, 64, 32)
    on_device = images.cuda()
    augment(on_device, torch.Generator())  # the first call allocates
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = augment(on_device, torch.Generator().manual_seed(1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.cpu(), augment(images, torch.Generator().manual_seed(1)), rtol=0, atol=1e-6)
