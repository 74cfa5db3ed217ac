"""What the four readers share: finding a data set's folder, listing its images, holding names against label files."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from nasda.data.domain import DISTRACTOR, JUNK, Sample
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
        Raises `NasdaError` if there is no such folder, saying which names were tried.
        """
        data_root = Path(data_root).expanduser()
        if not data_root.is_dir():
            what = "is a file, not a folder" if data_root.exists() else "no such folder"
            raise NasdaError(f"{data_root}: {what}; {self.dataset} was expected in it; {self.advice}")
        candidates = list(self._candidates(data_root))
        for folder in candidates:
            if any((folder / marker).is_dir() for marker in self.markers):
                return folder
        raise NasdaError(
            f"{candidates[0] if candidates else data_root}: no {self.dataset} found: expected a folder named "
            f"{_any_of(self.folder_names)} that holds {_any_of(self.markers[:3])}; {self.advice}"
        )

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
        entry.name
        for entry in _entries(folder)
        if entry.name.lower().endswith(IMAGE_SUFFIXES)
        and not entry.name.startswith(".")
        and not entry.is_dir(follow_symlinks=False)
    ]
    if not names:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise NasdaError(f"{folder}: no image in this folder (expected {kinds} files): unpack the data set again")
    return [_sample(folder, name) for name in sorted(names)]


def _sample(folder: Path, name: str) -> Sample:
    match = _NAME.match(name)
    if match is None:
        raise NasdaError(f"{folder / name}: name not understood: expected {_NAME_EXAMPLE}; rename or remove the file")
    return Sample(folder / name, int(match[1]), int(match[2]))


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


def check_name_list(samples: list[Sample], list_file: Path) -> None:
    """Raise `NasdaError` if `list_file` is there and does not list exactly the images that lie on disk."""
    if not list_file.exists():
        return
    lines = _read_bytes(list_file).decode("utf-8-sig", errors="replace").splitlines()
    listed = {line.strip() for line in lines} - {""}
    found = {sample.path.name for sample in samples}
    folder = samples[0].path.parent
    if missing := sorted(listed - found):
        raise NasdaError(
            f"{folder / missing[0]}: no such file, but {list_file} lists it "
            f"({len(missing)} of {len(listed)} are missing): unpack the data set again"
        )
    if extra := sorted(found - listed):
        raise NasdaError(
            f"{folder / extra[0]}: not listed in {list_file} ({len(extra)} such files): remove the file or the list"
        )


def check_labels(samples: list[Sample], label_file: Path) -> None:
    """Raise `NasdaError` if `label_file` is there and contradicts the labels that the file names carry.

    VeRi-776's and VehicleX's label files hold one `<Item imageName vehicleID cameraID …>` an image. The names alone
    say the same, so a file that is missing, or leaves images out, costs nothing.
    """
    if not label_file.exists():
        return
    pids: dict[str, int] = {}
    camids: dict[str, int] = {}
    for item in _parse_xml(label_file).iter("Item"):
        name = item.get("imageName", "")
        for attribute, values in (("vehicleID", pids), ("cameraID", camids)):
            if attribute in item.attrib:
                values[name] = _label(item.attrib[attribute], attribute, name, label_file)
    for sample in samples:
        for attribute, named, values in (("vehicleID", sample.pid, pids), ("cameraID", sample.camid, camids)):
            labelled = values.get(sample.path.name, named)
            if labelled != named:
                raise NasdaError(
                    f"{sample.path}: its name says {attribute} {named}, but {label_file} says {labelled}: "
                    "correct the wrong one, or remove the label file"
                )


def _label(text: str, attribute: str, name: str, label_file: Path) -> int:
    try:
        return int(text.removeprefix("c"))
    except ValueError:
        raise NasdaError(f"{label_file}: {name}: {attribute}={text!r} is not a number: correct or remove it") from None


def _parse_xml(path: Path) -> ElementTree.Element:
    """Parse an XML file in any encoding that Python knows.

    VeRi-776 declares gb2312, at which ElementTree gives up ("multi-byte encodings are not supported"); given a `str`
    without a declaration it has nothing to give up on.
    """
    data = _read_bytes(path)
    declaration = _DECLARATION.match(data)
    encoding = _ENCODING.search(declaration[0]) if declaration else None
    codec = encoding[1].decode("ascii").lower() if encoding else "utf-8"
    if codec == "gb2312":
        codec = "gb18030"  # files that call themselves gb2312 often hold characters of its successors
    try:
        return ElementTree.fromstring(_DECLARATION.sub(b"", data).decode(codec))
    except (UnicodeDecodeError, LookupError, ElementTree.ParseError) as error:
        raise NasdaError(f"{path}: cannot be read as XML ({error}): unpack it again or remove it") from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NasdaError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from error
