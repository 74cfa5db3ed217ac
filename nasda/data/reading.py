"""What the four readers share: finding a data set's folder, listing its images, holding names against label files; and
reading an image."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from nasda.data.domain import DISTRACTOR, JUNK, Domain, Sample
from nasda.errors import NasdaError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")

_NAME = re.compile(r"(-?\d+)_c(-?\d+)")  # cameras go to 12 in PersonX and are written c001 in VeRi: never one digit
_NAME_EXAMPLE = "<identity>_c<camera>…, such as 0002_c1s1_000451_03.jpg"

_DECLARATION = re.compile(rb"\A\s*<\?xml[^>]*\?>")
_ENCODING = re.compile(rb"""encoding\s*=\s*["']([\w.-]+)["']""")


@dataclass(frozen=True)
class Layout:
    """How one data set is recognised on disk.

    `folder_names` are the names people give its folder; the letters' case and punctuation do not matter.
    `markers` are relative paths of folders, any of which shows that the data set lies right there.
    """

    dataset: str
    task: str
    folder_names: tuple[str, ...]
    markers: tuple[str, ...]

    def find(self, data_root: Path) -> Path:
        """The data set's folder: `data_root` itself if it is named so, or one below it, also inside a wrapper.

        Wrappers are what unpacking and other frameworks leave behind: `market1501/Market-1501-v15.09.15`,
        `AIC20_track2/AIC20_ReID_Simulation`. Only folders with a known name are entered, since Market-1501
        looks like PersonX from inside and VeRi-776 like VehicleX.
        Raises `NasdaError` if there is no such folder, saying which names were tried, or if there is more than one.
        """
        data_root = Path(data_root).expanduser()
        if not data_root.is_dir():
            what = "is a file, not a folder" if data_root.exists() else "no such folder"
            raise NasdaError(f"{data_root}: {what}; {self.dataset} was expected in it; {self.advice}")
        folders = self.folders(data_root)
        if len(folders) == 1 or folders[:1] == [data_root]:
            return folders[0]
        if folders:
            raise NasdaError(
                f"{' and '.join(map(str, folders))}: each is {self.dataset}: expected one: "
                "move the others away, or pass the one's own folder as --data-root"
            )
        nearest = next(self._candidates(data_root), data_root)
        raise NasdaError(
            f"{nearest}: no {self.dataset} found: expected a folder named {_any_of(self.folder_names)} that holds "
            f"{_any_of(self.markers[:3])}; {self.advice}"
        )

    def folders(self, data_root: Path) -> list[Path]:
        """Every folder in which the data set lies, `data_root` itself or below it; one that has two names, once."""
        found: dict[Path, Path] = {}
        for folder in self._candidates(data_root):
            if any((folder / marker).is_dir() for marker in self.markers):
                found.setdefault(folder.resolve(), folder)
        return list(found.values())

    def is_called(self, name: str) -> bool:
        """Whether `name` is one of the names that people give its folder."""
        return _plain(name) in map(_plain, self.folder_names)

    @property
    def advice(self) -> str:
        """What to do when the data set is not there."""
        make = f"nasda data make --task {self.task}"
        return f"run `{make}` to make the toy data, or pass --data-root <folder of the real data>"

    def _candidates(self, data_root: Path) -> Iterator[Path]:
        known = [_plain(name) for name in self.folder_names]
        if {_plain(data_root.name), _plain(data_root.resolve().name)} & set(known):  # a link, or "."
            yield data_root
        yield from _named_below(data_root, known, depth=3)


def _named_below(folder: Path, known: list[str], depth: int) -> Iterator[Path]:
    if depth == 0:
        return
    children = [Path(entry.path) for entry in _entries(folder) if _plain(entry.name) in known and entry.is_dir()]
    for child in sorted(children, key=lambda path: (known.index(_plain(path.name)), path.name)):
        yield child
        yield from _named_below(child, known, depth - 1)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _any_of(names: tuple[str, ...]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise NasdaError(f"{folder}: cannot be listed: {error.strerror or error}; check its permissions") from error


def read_images(folder: Path) -> list[Sample]:
    """Every image in `folder` (not below it) as a `Sample`, sorted by name, with the labels that its name carries.

    Other files are passed over: Market-1501's `Thumbs.db`, lists, Matlab files, hidden files, macOS's `._` twins.
    No image is opened. Raises `NasdaError` if the folder is missing or has no image, or a name carries no labels.
    """
    if not folder.is_dir():
        raise NasdaError(f"{folder}: no such folder, but images were expected in it: unpack the data set again")
    # A directory entry knows its own kind, so nothing here asks the disk about single files.
    names = [
        entry.name for entry in _entries(folder) if is_image(entry.name) and not entry.is_dir(follow_symlinks=False)
    ]
    if not names:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise NasdaError(f"{folder}: no image in this folder (expected {kinds} files): unpack the data set again")
    return [sample_of(folder / name) for name in sorted(names)]


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def sample_of(path: Path) -> Sample:
    """An image with the labels that its name carries; whether the file is there does not matter.

    Raises `NasdaError` if the name carries none.
    """
    match = _NAME.match(path.name)
    if match is None:
        raise NasdaError(f"{path}: name not understood: expected {_NAME_EXAMPLE}; rename or remove the file")
    return Sample(path, int(match[1]), int(match[2]))


def read_train(folder: Path, without: tuple[int, ...] = (JUNK,)) -> list[Sample]:
    """The training images in `folder`, less the identities in `without`. Raises `NasdaError` if none is left."""
    samples = [sample for sample in read_images(folder) if sample.pid not in without]
    if not samples:
        ids = " and ".join(str(pid) for pid in without)
        raise NasdaError(f"{folder}: only images of identity {ids}, none to train with: unpack the data set again")
    return samples


def read_market_tree(folder: Path, needs_test: bool) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Train, query and gallery of a folder that is laid out as Market-1501 is.

    The training images leave out distractors (0) and junk (−1); the gallery keeps both, for the evaluation to treat.
    A source needs no test: without `needs_test`, both lists are empty where both folders are missing.
    """
    train = read_train(folder / "bounding_box_train", without=(JUNK, DISTRACTOR))
    query, gallery = folder / "query", folder / "bounding_box_test"
    if not needs_test and not query.exists() and not gallery.exists():
        return train, [], []
    return train, read_images(query), read_images(gallery)


@dataclass(frozen=True)
class Lists:
    """The files beside the images that say again what the names of one split's images say; each may be missing."""

    split: str
    names: str  # the list of the images' names
    labels: tuple[str, ...]  # XML files


def contradictions(domain: Domain, lists: Sequence[Lists]) -> Iterator[str]:
    """Each way in which a list or label file that is there says something else than the images: a line naming both."""
    for each in lists:
        samples = domain.splits()[each.split]
        try:
            yield from _against_names(samples, domain.root / each.names)
            for label_file in each.labels:
                yield from _against_labels(samples, domain.root / label_file)
        except NasdaError as error:  # a file that cannot be read contradicts too
            yield str(error)


def _against_names(samples: list[Sample], list_file: Path) -> Iterator[str]:
    if not list_file.exists():
        return
    listed = set(read_name_list(list_file))
    found = {sample.path.name for sample in samples}
    folder = samples[0].path.parent
    missing, extra = sorted(listed - found), sorted(found - listed)
    for name in missing:
        yield (
            f"{folder / name}: no such file, but {list_file} lists it "
            f"({len(missing)} of {len(listed)} are missing): unpack the data set again"
        )
    for name in extra:
        yield f"{folder / name}: not listed in {list_file} ({len(extra)} such files): remove the file or the list"


def read_name_list(list_file: Path) -> list[str]:
    """The names in a list, one a line, in order. Raises `NasdaError` if the file cannot be read."""
    lines = _read_bytes(list_file).decode("utf-8-sig", errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _against_labels(samples: list[Sample], label_file: Path) -> Iterator[str]:
    """The names alone say the same, so a file that is missing, or leaves images out, costs nothing."""
    if not label_file.exists():
        return
    labels = read_labels(label_file)
    for sample in samples:
        label = labels.get(sample.path.name, Label())
        for attribute, named, labelled in (
            ("vehicleID", sample.pid, label.pid),
            ("cameraID", sample.camid, label.camid),
        ):
            if labelled not in (None, named):
                yield (
                    f"{sample.path}: its name says {attribute} {named}, but {label_file} says {labelled}: "
                    "correct the wrong one, or remove the label file"
                )


class Label(NamedTuple):
    """What a label file says of one image; None where it says nothing."""

    pid: int | None = None
    camid: int | None = None


def read_labels(label_file: Path) -> dict[str, Label]:
    """The labels in a file of VeRi-776 or VehicleX, one `<Item imageName vehicleID cameraID …>` an image, by name.

    Raises `NasdaError` if the file cannot be read, or an identity or camera is no number.
    """
    return {
        item.get("imageName", ""): Label(
            _label(item, "vehicleID", label_file),
            _label(item, "cameraID", label_file),
        )
        for item in read_xml(label_file)[0].iter("Item")
    }


def _label(item: ElementTree.Element, attribute: str, label_file: Path) -> int | None:
    text = item.get(attribute)
    try:
        return None if text is None else int(text.removeprefix("c"))
    except ValueError:
        name = item.get("imageName", "")
        raise NasdaError(f"{label_file}: {name}: {attribute}={text!r} is not a number: correct or remove it") from None


def read_xml(path: Path) -> tuple[ElementTree.Element, str]:
    """Parse an XML file in any encoding that Python knows; returns its root and the encoding it declares.

    VeRi-776 declares gb2312, at which ElementTree gives up ("multi-byte encodings are not supported"); given a `str`
    without a declaration it has nothing to give up on. Raises `NasdaError` if the file cannot be read.
    """
    data = _read_bytes(path)
    declaration = _DECLARATION.match(data)
    encoding = _ENCODING.search(declaration[0]) if declaration else None
    declared = encoding[1].decode("ascii").lower() if encoding else "utf-8"
    try:
        return ElementTree.fromstring(_DECLARATION.sub(b"", data).decode(_codec(declared))), declared
    except (UnicodeDecodeError, LookupError, ElementTree.ParseError) as error:
        raise NasdaError(f"{path}: cannot be read as XML ({error}): unpack it again or remove it") from error


def xml_bytes(root: ElementTree.Element, encoding: str) -> bytes:
    """The file that `read_xml` reads as `root` and `encoding`."""
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n' + ElementTree.tostring(root, encoding="unicode")
    return text.encode(_codec(encoding))


def _codec(encoding: str) -> str:
    """Files that call themselves gb2312 often hold characters of its successors."""
    return "gb18030" if encoding == "gb2312" else encoding


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NasdaError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from error


def read_image(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """An image as uint8 (height, width, 3), decoded to its last pixel: RGB, resized to `size`, (height, width), if that
    is given, bilinearly with antialiasing.

    Raises `NasdaError` naming the file and its cause: missing, unreadable, empty, cut short, not an image at all.
    """
    from PIL import Image, UnidentifiedImageError  # here: whoever only asks for help need not wait for it

    try:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
            return np.array(pixels.resize(size[::-1], Image.Resampling.BILINEAR) if size else pixels)
    except UnidentifiedImageError:
        with path.open("rb") as file:
            start = file.read(16)
        cause = f"it begins with {start!r}" if start else "it is empty (0 bytes)"
    except OSError as error:
        cause = f"it cannot be read ({error.strerror or error})"
    except Exception as error:  # Pillow's decoders raise SyntaxError, ValueError, struct.error, …
        cause = f"it is damaged ({error})"
    raise NasdaError(f"{path}: an image expected here, but {cause}: copy or unpack it again, or remove it")
