"""Find a data set's folder, list its images, compare their names with its lists and label files; read an image."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from nasda.data.domain import JUNK, Domain, Sample
from nasda.errors import NasdaError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")

_NAME = re.compile(r"(-?\d+)_c(-?\d+)")  # cameras go to 12 in PersonX and are written c001 in VeRi: never one digit
_NAME_EXAMPLE = "<identity>_c<camera>…, such as 0002_c1s1_000451_03.jpg"

_DECLARATION = re.compile(rb"""\A\s*<\?xml(?:[^>]*?encoding\s*=\s*["']([\w.-]+)["'])?[^>]*\?>""")


@dataclass(frozen=True)
class Layout:
    """Where the images of one data set lie on disk, in each form that is in circulation.

    folder_names: what people call its folder; case and punctuation do not matter.
    train, query, gallery: folders below it; `train` has a name for each form, the other two are None if no form has a
        test.
    needs_test: False for a source, which may lack both folders of the test.
    parts: folders of which each holds the folders above: PersonX has one for each background.
    nobody: identities that are left out of training.
    """

    dataset: str
    task: str
    folder_names: tuple[str, ...]
    train: tuple[str, ...]
    query: str | None = None
    gallery: str | None = None
    needs_test: bool = True
    parts: tuple[str, ...] = ()
    nobody: tuple[int, ...] = (JUNK,)

    @property
    def markers(self) -> tuple[str, ...]:
        """Folders of which any one shows that the data set lies right there."""
        test = tuple(folder for folder in (self.gallery, self.query) if folder and self.needs_test)
        return (*self.train, *test, *(f"{part}/{self.train[0]}" for part in self.parts))

    def read(self, data_root: Path) -> Domain:
        """The data set below `data_root`; identities and cameras as the file names say.

        Training leaves out `nobody`; query and gallery keep every image, for the evaluation to treat.
        Raises `NasdaError` if a folder is missing or empty, a name is not understood, or no one is left to train on.
        """
        root = self.find(data_root)
        domain = Domain(self.dataset, root, train=[], query=[], gallery=[])
        for tree in [root / part for part in self.parts if (root / part).is_dir()] or [root]:
            folder = next((tree / name for name in self.train if (tree / name).is_dir()), tree / self.train[0])
            train = [sample for sample in read_images(folder) if sample.pid not in self.nobody]
            if not train:
                ids = " and ".join(map(str, self.nobody))
                raise NasdaError(
                    f"{folder}: only images of identity {ids}, none to train on: unpack the data set again"
                )
            domain.train.extend(train)
            if self.query and self.gallery:
                query, gallery = tree / self.query, tree / self.gallery
                if self.needs_test or query.exists() or gallery.exists():
                    domain.query.extend(read_images(query))
                    domain.gallery.extend(read_images(gallery))
        return domain

    def find(self, data_root: Path) -> Path:
        """The data set's folder: `data_root` itself if it is named so, or one below it, also inside a wrapper.

        Unpacking and other frameworks leave wrappers behind: `market1501/Market-1501-v15.09.15`,
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
                "move the others away, or pass one of these folders as --data-root"
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
            if self.lies_in(folder):
                found.setdefault(folder.resolve(), folder)
        return list(found.values())

    def lies_in(self, folder: Path) -> bool:
        """Whether `folder`, whatever its name, holds a folder of the data set."""
        return any((folder / marker).is_dir() for marker in self.markers)

    def is_called(self, name: str) -> bool:
        """Whether `name` is one of `folder_names`."""
        return _plain(name) in map(_plain, self.folder_names)

    @property
    def advice(self) -> str:
        """What to do when the data set is not there."""
        make = f"nasda data make --task {self.task}"
        return f"run `{make}` to make the toy data, or pass the folder of the real data as --data-root"

    def _candidates(self, data_root: Path) -> Iterator[Path]:
        """The folders with a known name, `data_root` first."""
        if self.is_called(data_root.name) or self.is_called(data_root.resolve().name):  # a link, or "."
            yield data_root
        yield from self._below(data_root, depth=3)

    def _below(self, folder: Path, depth: int) -> Iterator[Path]:
        names = [_plain(name) for name in self.folder_names]
        children = [Path(entry.path) for entry in entries_of(folder) if _plain(entry.name) in names and entry.is_dir()]
        for child in sorted(children, key=lambda path: (names.index(_plain(path.name)), path.name)):
            yield child
            if depth > 1:
                yield from self._below(child, depth - 1)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _any_of(names: tuple[str, ...]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in `folder`. Raises `NasdaError` if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise NasdaError(f"{folder}: cannot be listed: {error.strerror or error}; check its permissions") from error


def read_images(folder: Path) -> list[Sample]:
    """Every image in `folder` (not below it) as a `Sample`, sorted by name; its name gives identity and camera.

    Other files are ignored: Market-1501's `Thumbs.db`, lists, Matlab files, hidden files, macOS's `._` twins.
    No image is opened. Raises `NasdaError` if the folder is missing or has no image, or a name is not understood.
    """
    if not folder.is_dir():
        raise NasdaError(f"{folder}: no such folder, but images were expected in it: unpack the data set again")
    # A directory entry knows its own kind, so the disk is not asked about each file.
    names = [each.name for each in entries_of(folder) if is_image(each.name) and not each.is_dir(follow_symlinks=False)]
    if not names:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise NasdaError(f"{folder}: no image in this folder (expected {kinds} files): unpack the data set again")
    return [sample_of(folder / name) for name in sorted(names)]


def is_image(name: str) -> bool:
    """Whether a file of this name counts as an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def sample_of(path: Path) -> Sample:
    """An image with the identity and camera that its name says. The file need not exist.

    Raises `NasdaError` if the name is not understood.
    """
    match = _NAME.match(path.name)
    if match is None:
        raise NasdaError(f"{path}: name not understood: expected {_NAME_EXAMPLE}; rename or remove the file")
    return Sample(path, int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Lists:
    """The files beside the images that repeat what the names of one split's images say; each may be missing."""

    split: str
    names: str  # the list of the images' names
    labels: tuple[str, ...]  # XML files


def contradictions(domain: Domain, lists: Sequence[Lists]) -> Iterator[str]:
    """Each way in which a list or label file that is there contradicts the images: a line that names both."""
    for each in lists:
        samples = domain.splits()[each.split]
        for file, compare in ((each.names, _against_names), *((file, _against_labels) for file in each.labels)):
            try:
                if (domain.root / file).exists():
                    yield from compare(samples, domain.root / file)
            except NasdaError as error:  # a file that cannot be read contradicts too
                yield str(error)


def _against_names(samples: list[Sample], list_file: Path) -> Iterator[str]:
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
    """An image without a label is no contradiction."""
    labels = read_labels(label_file)
    for sample in samples:
        labelled = labels.get(sample.path.name, (None, None))
        for attribute, in_name, in_file in zip(("vehicleID", "cameraID"), sample[1:], labelled, strict=True):
            if in_file not in (None, in_name):
                yield (
                    f"{sample.path}: its name says {attribute} {in_name}, but {label_file} says {in_file}: "
                    "correct the wrong one, or remove the label file"
                )


def read_labels(label_file: Path) -> dict[str, tuple[int | None, int | None]]:
    """Identity and camera of each image in a label file of VeRi-776 or VehicleX, by its name; None where none is given.

    Such a file has one `<Item imageName vehicleID cameraID …>` an image.
    Raises `NasdaError` if the file cannot be read, or an identity or camera is no number.
    """

    def number(item: ElementTree.Element, attribute: str) -> int | None:
        text = item.get(attribute)
        try:
            return None if text is None else int(text.removeprefix("c"))
        except ValueError:
            wrong = f"{item.get('imageName', '')}: {attribute}={text!r}"
            raise NasdaError(f"{label_file}: {wrong} is not a number: correct or remove it") from None

    items = read_xml(label_file)[0].iter("Item")
    return {item.get("imageName", ""): (number(item, "vehicleID"), number(item, "cameraID")) for item in items}


def read_xml(path: Path) -> tuple[ElementTree.Element, str]:
    """Parse an XML file in any encoding that Python knows; returns its root and the encoding it declares.

    VeRi-776 declares gb2312, which ElementTree refuses ("multi-byte encodings are not supported"), so it is given a
    `str` without the declaration. Raises `NasdaError` if the file cannot be read.
    """
    data = _read_bytes(path)
    declaration = _DECLARATION.match(data)
    declared = declaration[1].decode("ascii").lower() if declaration and declaration[1] else "utf-8"
    try:
        return ElementTree.fromstring(_DECLARATION.sub(b"", data).decode(_codec(declared))), declared
    except (UnicodeDecodeError, LookupError, ElementTree.ParseError) as error:
        raise NasdaError(f"{path}: cannot be read as XML ({error}): unpack it again or remove it") from error


def xml_bytes(root: ElementTree.Element, encoding: str) -> bytes:
    """The content of a file that `read_xml` reads as `root` and `encoding`."""
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
    """An image as RGB, uint8 (height, width, 3), decoded to its last pixel.

    Where `size`, (height, width), is given, the image is resized to it, bilinearly with antialiasing.
    Raises `NasdaError` naming the file and the cause: missing, unreadable, empty, cut short, not an image at all.
    """
    from PIL import Image, UnidentifiedImageError  # imported here so that `--help` does not wait for it

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
