"""What a student has built: the source of right answers, in `my_nasda.py` in the folder of runs.

The file is py:percent, a cell for each answer, and can be read, edited and imported like any module. Each cell stands
alone: it holds the answer's definition, and those of the imports, helpers and constants of the notebook that it uses.
"""

import ast
import builtins
import inspect
import linecache
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from filelock import FileLock

from nasda.course.open import project_folder
from nasda.errors import NasdaError
from nasda.files import make_folder, write_text

FILE = "my_nasda.py"
_HEAD = '''"""What I have built in the course. `check` writes here, `mine` reads it.

Delete a cell to go back to the library's part.
"""
'''
_CELL = re.compile(r"^# %% (\d\d\.\d) (\w+)\n(.*?)(?=^# %% |\Z)", re.MULTILINE | re.DOTALL)
_EXERCISE = "__exercise__"  # in the globals of a kept answer: which exercise it answers
_SIMPLE = int, float, complex, bool, str, bytes, type(None), tuple, list, dict, set


@dataclass(frozen=True)
class Workbook:
    """The file of kept answers."""

    path: Path

    @classmethod
    def here(cls) -> "Workbook":
        """The student's file, in the folder of runs of the project. Raises `NasdaError` outside of a project."""
        return cls(project_folder() / "runs" / FILE)

    def _text(self) -> str:
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def names(self) -> list[str]:
        """The exercises whose answers are kept."""
        return [match[1] for match in _CELL.finditer(self._text())]

    def keep(self, name: str, answer: Any) -> None:
        """Write the source of `answer` in the place of an earlier one. Whole or not at all, also from two notebooks.

        Raises `NasdaError` if the source cannot be found, or uses something of the notebook that cannot be written
        down, or if the file cannot be written.
        """
        source = self_contained(answer)
        make_folder(self.path.parent)
        try:
            with FileLock(self.path.with_suffix(".lock")):
                cells = {match[1]: match[0].rstrip() for match in _CELL.finditer(self._text())}
                cells[name] = f"# %% {name} {answer.__name__}\n{source}"
                write_text(self.path, "\n\n".join([_HEAD, *(cells[key] + "\n" for key in sorted(cells))]))
        except OSError as error:
            raise NasdaError(f"{self.path}: cannot be written ({error.strerror})") from error

    def load(self, name: str) -> Any:
        """The kept answer to an exercise; None if there is none. Raises `NasdaError` if its cell cannot be run."""
        text = self._text()
        for match in _CELL.finditer(text):
            if match[1] == name:
                line = text[: match.start(3)].count("\n")
                space: dict[str, Any] = {"__name__": "my_nasda", _EXERCISE: name}
                try:
                    exec(compile("\n" * line + match[3], str(self.path), "exec"), space)
                    return space[match[2]]
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}"
                    raise NasdaError(
                        f"{self.path}: the cell {name} cannot be run ({reason}): mend it, or delete the cell and run "
                        f"its exercise again"
                    ) from error
        return None


def self_contained(answer: Any) -> str:
    """The source of a function or class, below all that it uses: imports, then constants and helpers.

    Raises `NasdaError` if a source cannot be found, or if the answer uses an object that only the notebook has.
    """
    if not hasattr(answer, "__name__"):
        raise NasdaError("expected a function or a class: define it with `def` or `class` in a cell")
    imports: dict[str, None] = {}
    definitions: dict[str, str] = {}
    _collect(answer, imports, definitions)
    return "\n\n\n".join(["\n".join(imports)] * bool(imports) + list(definitions.values())) + "\n"


def _collect(thing: Any, imports: dict[str, None], definitions: dict[str, str]) -> None:
    """Add a definition, after what it needs. A name that is being collected already is not collected again."""
    name = thing.__name__
    if name in definitions:
        return
    definitions[name] = source = definition(thing)  # a recursive function ends here
    scope = _scope(thing)
    for used in sorted(_free_names(source) & scope.keys()):
        value = scope[used]
        exercise = _exercise_of(value)
        if exercise not in ("", _exercise_of(thing)):
            imports["from nasda.course.check import mine"] = None
            definitions[used] = f'{used} = mine("{exercise}")'
        elif isinstance(value, ModuleType):
            imports[f"import {used}" if used == value.__name__ else f"import {value.__name__} as {used}"] = None
        elif isinstance(value, (FunctionType, type)) and value.__module__ == thing.__module__:
            if value is not thing:
                _collect(value, imports, definitions)
        elif _importable(value, scope):
            own = value.__name__
            imports[f"from {value.__module__} import {own}" + (f" as {used}" if used != own else "")] = None
        elif isinstance(value, _SIMPLE) and _written(value):
            definitions[used] = f"{used} = {value!r}"
        else:
            raise NasdaError(f"your {name} uses `{used}`, which only this notebook has: make it an argument")
    definitions[name] = definitions.pop(name)  # below what it needs


def definition(thing: Any) -> str:
    """The source of a function or class. Raises `NasdaError` if the source cannot be found.

    `inspect.getsource` does not know classes of a notebook before Python 3.13; their functions know their cell.
    """
    code = next(_codes(thing), None)
    if code is None:
        raise NasdaError("expected a function or a class with functions: its source cannot be found")
    text = "".join(linecache.getlines(code.co_filename))
    kinds = ast.ClassDef if isinstance(thing, type) else ast.FunctionDef
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds) and node.name == thing.__name__]
    if not found:
        raise NasdaError(f"{thing.__name__}: its source cannot be found: define it with `def` or `class` in a cell")
    node = next(
        (node for node in found if _first_line(node) <= code.co_firstlineno <= (node.end_lineno or 0)), found[-1]
    )
    lines = text.splitlines()[_first_line(node) - 1 : node.end_lineno]
    return inspect.cleandoc("\n".join(["", *lines]))


def _first_line(node: Any) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _codes(thing: Any) -> Iterator[CodeType]:
    members = vars(thing).values() if isinstance(thing, type) else [thing]
    for member in members:
        function = inspect.unwrap(getattr(member, "__func__", member)) if callable(member) else member
        if isinstance(function, FunctionType):
            yield function.__code__


def _scope(thing: Any) -> dict[str, Any]:
    members = vars(thing).values() if isinstance(thing, type) else [thing]
    functions = (inspect.unwrap(getattr(member, "__func__", member)) for member in members if callable(member))
    return next((function.__globals__ for function in functions if isinstance(function, FunctionType)), {})


def _exercise_of(value: Any) -> str:
    """The exercise that a kept answer answers; "" for everything else."""
    return str(_scope(value).get(_EXERCISE, "")) if isinstance(value, (FunctionType, type)) else ""


def _free_names(source: str) -> set[str]:
    """The names that a definition reads from its notebook: no locals, and nothing that Python has of itself."""
    tables, names = [symtable.symtable(source, "answer", "exec")], set[str]()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        names |= {name.get_name() for name in table.get_symbols() if name.is_global() and name.is_referenced()}
    return names - set(dir(builtins))


def _importable(value: Any, scope: dict[str, Any]) -> bool:
    """Can another program import this object by its name?"""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    return bool(module and name) and module != scope.get("__name__") and module != "__main__"


def _written(value: Any) -> bool:
    """Does a constant come back from what `repr` writes of it?"""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError):
        return False
