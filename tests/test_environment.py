"""pyproject.toml, constraints.txt and environment.yml say the same, and the house's floors hold."""

import ast
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

# design: a file imports only from floors below its own, or beside it on one floor
FLOORS = [
    {"errors", "files", "genotypes", "profiles", "devices", "paper"},
    {"operations", "cells", "fast_cells", "networks", "data", "losses", "features", "translators"},
    {"bilevel", "evaluation", "distances", "graphs", "runs"},
    {"search", "training", "spgan", "translation"},
    {"experiments", "table", "study"},
    {"drawing", "plotting", "pictures", "widgets", "exercises", "course", "lessons"},
    {"cli", "doctor"},
]


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


def imports_of(path: Path) -> set[str]:
    """The rooms of nasda that a file imports at its top level."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nasda."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "nasda":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nasda.")}
    return rooms


def test_every_file_imports_only_from_its_own_floor_or_below() -> None:
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    for path in sorted((ROOT / "nasda").rglob("*.py")):
        room = path.relative_to(ROOT / "nasda").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        above = {other for other in imports_of(path) if floor_of[other] > floor_of[room]}
        assert not above, f"{path.name} imports from above: {above}"
