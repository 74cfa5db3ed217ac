"""Read genotypes in the form that DARTS, Auto-ReID and projects based on them publish."""

import ast
import json
from pathlib import Path
from typing import Any

from nasda.errors import NasdaError
from nasda.files import reading
from nasda.genotypes import CELL_INPUTS, CELL_KINDS, Genotype

_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")  # DARTS' named tuple


def read_published(path: Path, name: str | None = None) -> Genotype:
    """The genotype in `path`: Python such as `Genotype(normal=[…], normal_concat=range(2, 6), reduce=[…], …)`, which is
    parsed and never executed, or the same fields as JSON. `name` chooses one of several, as in DARTS' genotypes.py.

    Raises `NasdaError` naming `path` and what is wrong with it.
    """
    with reading(path, "a published genotype"):
        text = path.read_text(encoding="utf-8")
    try:
        fields = _fields(text, name)
        genotype = Genotype.from_darts(fields["normal"], fields["reduce"])
        for kind in CELL_KINDS:
            nodes, output = [*range(CELL_INPUTS, CELL_INPUTS + genotype.nodes)], fields.get(f"{kind}_concat")
            if output is not None and (len(output) != len(nodes) or [*output] != nodes):
                raise NasdaError(f"{kind}_concat is {output}: expected all nodes of the cell, {nodes}")
    except NasdaError as error:
        raise NasdaError(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise NasdaError(f"{path}: expected Genotype(normal=[…], reduce=[…]) or these fields as JSON") from error
    return genotype


def _fields(text: str, name: str | None) -> dict[str, Any]:
    """The fields of the genotype in `text`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        found = _calls(text)
        if name is None and len({id(fields) for fields in found.values()}) == 1:
            name = next(iter(found))
        if name not in found:
            asked = "one Genotype(…)" if name is None else f"a Genotype(…) named {name}"
            there = ", ".join(found) or "nothing"
            raise NasdaError(f"expected {asked}, found {there}: choose one with --name NAME") from None
        return {field: _literal(node) for field, node in found[name].items()}
    return dict(zip(_FIELDS, value, strict=False)) if isinstance(value, list) else value


def _calls(text: str) -> dict[str, dict[str, ast.expr]]:
    """The fields of every `Genotype(…)` in Python code, by the name that it is assigned to."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NasdaError(f"neither JSON nor Python ({error})") from error
    found: dict[str, dict[str, ast.expr]] = {}
    for statement in body:
        call = getattr(statement, "value", None)
        names = [target.id for target in getattr(statement, "targets", []) if isinstance(target, ast.Name)]
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "Genotype":
            given = {str(word.arg): word.value for word in call.keywords}
            found[names[0] if names else "Genotype"] = dict(zip(_FIELDS, call.args, strict=False)) | given
        elif isinstance(call, ast.Name) and call.id in found and names:  # DARTS = DARTS_V2
            found[names[0]] = found[call.id]
    return found


def _literal(node: ast.expr) -> Any:
    """A list of names and numbers, or a range of numbers."""
    try:
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "range":
            return range(*(ast.literal_eval(argument) for argument in node.args))
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError) as error:
        raise NasdaError(f"line {node.lineno}: expected names and numbers, found {ast.unparse(node):.60}") from error
