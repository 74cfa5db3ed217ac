"""pyproject.toml, constraints.txt and environment.yml say the same, and the house's floors hold."""

import ast
import graphlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [Requirement(line) for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]]


def constraints() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_to_a_version_that_the_project_admits(requirement: Requirement) -> None:
    pinned = constraints()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned)


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_what_is_installed_here_is_what_is_pinned(requirement: Requirement) -> None:
    installed = importlib.metadata.version(requirement.name).split("+")[0]
    assert installed == constraints()[canonicalize_name(requirement.name)]


def test_constraints_are_exact_versions_without_addresses_or_builds() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


def test_conda_takes_graphviz_itself_and_the_rest_from_the_project() -> None:
    text = (ROOT / "environment.yml").read_text()
    entries = [line.strip().removeprefix("- ") for line in text.splitlines() if line.strip().startswith("- ")]
    assert entries[0] == "conda-forge"
    assert "graphviz" in entries
    assert entries[entries.index("pip:") + 1 :] == ["--constraint constraints.txt", "--editable .[test]"]
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f"python >={oldest},<3.14" in entries


def floors() -> dict[str, int]:
    """The floor of every file, as the README's listing says it: "data/task.py": 1."""
    listing = re.search(r"<!-- house -->\n(.*?)<!-- /house -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert listing is not None
    found: dict[str, int] = {}
    wing = ""
    for line in listing.group(1).split("notebooks/ ")[0].splitlines():
        if opened := re.match(r"├─ ([a-z]+/) |└─ ([a-z]+/) ", line):
            wing = opened[1] or opened[2]
        if files := re.match(r"(│  |   )?[├└]─ ((?:[a-z0-9_]+\.py[ …]+)+)(\d+)  ", line):
            names = re.findall(r"[a-z0-9_]+\.py", files[2])
            if "…" in files[2]:  # from the first to the last
                names = sorted(p.name for p in (ROOT / "nasda" / wing).glob("*.py") if names[0] <= p.name <= names[1])
            found |= {(wing if files[1] else "") + name: int(files[3]) for name in names}
    return found


def imports_of(path: Path) -> set[str]:
    """The files of nasda that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.removeprefix("nasda.").replace(".", "/") + ".py" for name in names if name.startswith("nasda.")}
    return {name for name in found if (ROOT / "nasda" / name).is_file()}


FILES = [path for path in sorted((ROOT / "nasda").rglob("*.py")) if path.name != "__init__.py"]


def test_the_readme_names_every_file_and_no_other() -> None:
    assert set(floors()) == {path.relative_to(ROOT / "nasda").as_posix() for path in FILES}


def test_every_file_imports_only_from_its_own_floor_or_below_and_never_in_a_circle() -> None:
    floor_of = floors()
    imports = {path.relative_to(ROOT / "nasda").as_posix(): imports_of(path) for path in FILES}
    for name, imported in imports.items():
        above = {other for other in imported if floor_of[other] > floor_of[name]}
        assert not above, f"{name} imports from above: {above}"
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError
