"""What judges an answer: functions on fixed and random cases, modules with the library's weights copied over, values.

A judge says nothing of a right answer; of a wrong one it names the first case that differs, and hands that case back.
"""

import copy
import dis
import linecache
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from numbers import Real
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasda.course.limits import TimeIsUp, within
from nasda.errors import NasdaError

SECONDS = 10
"""How long one call of a student's code may run."""

Case = Mapping[str, Any]  # a function's arguments by name, in their order
Draw = Callable[[np.random.Generator], Case]
Mistakes = Sequence[tuple[Callable[..., Any], str]]

_ARRAYS = torch.Tensor, np.ndarray
_SETS = set, frozenset
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Wrong:
    """What is wrong with an answer, and the first case that shows it: arguments by name. `advice` is the part of the
    words that tells nothing of the case."""

    words: str
    case: Case = field(default_factory=dict)
    advice: str = field(default="", compare=False)


@dataclass(frozen=True)
class Exercise:
    """`judge` gets the answer and returns None where it is right, else words that name the first difference.

    It raises `NotAttempted` for a stub. `praise` is said of a right answer: what it is good for, or a surprise in it.
    An exercise whose answer is a part of the student's searcher has the part's name, and the `library`'s own, which
    stands in for an answer that is not there yet.
    """

    judge: Callable[[Any], Wrong | str | None]
    praise: str = ""
    part: str = ""
    library: Any = None
    examples: Callable[[int], list[tuple[Case, Any]]] = lambda _: []  # random cases with what is expected


class Told(Exception):
    """An error of an answer that has been put into words already."""


class NotAttempted(Exception):
    """The answer is still the stub."""


def attempted(answer: Any) -> Any:
    """The answer itself; raises `NotAttempted` for what a stub gives."""
    if answer is None or answer is ...:
        raise NotAttempted
    return answer


def is_stub(answer: Any) -> bool:
    """Does a function do nothing but return None; does a class have no function that does more?"""
    if isinstance(answer, type):
        own = [member for member in vars(answer).values() if hasattr(member, "__code__")]
        return all(map(is_stub, own))
    code = getattr(answer, "__code__", None)
    if not isinstance(code, CodeType) or code.co_flags & 0x20:  # a generator does something
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP", "CACHE")]
    returns_none = all(step.opname in ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST") for step in steps)
    return returns_none and all(step.argval is None for step in steps if step.opname.endswith("CONST"))


def call(answer: Callable[..., Any], case: Case, keywords: Case | None = None) -> Any:
    """What an answer returns for copies of a case's arguments, given by position: it may name them otherwise.

    Raises `TimeIsUp` after `SECONDS`, and what the answer raises.
    """
    arguments = copy.deepcopy(list(case.values()))
    return within(SECONDS, answer, *arguments, **copy.deepcopy(dict(keywords or {})))


def in_words(error: BaseException) -> str:
    """An error of a student's code, with the line of his own that led to it."""
    if isinstance(error, Told):
        return str(error)
    if isinstance(error, TimeIsUp):
        what = f"it was stopped after {SECONDS} s: does every loop end?"
    elif isinstance(error, SystemExit):
        what = "it raised SystemExit, which ends Python: return a value instead of calling exit()"
    else:
        what = f"it raised {type(error).__name__}: {error}"
    return what + _line(error)


def _line(error: BaseException) -> str:
    """The last line outside this package and the installed ones."""
    elsewhere = str(_PACKAGE), sys.prefix, sys.base_prefix, "<frozen"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        code = frame.f_code
        number = line or code.co_firstlineno  # the jump at a loop's end has no line of its own
        text = linecache.getline(code.co_filename, number).strip()
        if text and not code.co_filename.startswith(elsewhere):
            return f" (line {number} of your cell: `{text}`)"
    return ""


def like(
    reference: Callable[..., Any],
    cases: Sequence[Case] | Mapping[str, Case],
    mistakes: Mistakes = (),
    *,
    draw: Draw | None = None,
    draws: int = 20,
    seed: int = 0,
    advice: Sequence[str] = (),
    tolerance: float = 1e-5,
    praise: str = "",
    part: str = "",
    library: Any = None,
) -> Exercise:
    """A function to write: on each of `cases`, its arguments by name, it returns what `reference` returns.

    After them come `draws` random cases by `draw`, the same ones for a `seed`. A case is named by its arguments, or by
    its key where `cases` has keys. Numbers, arrays and tensors may differ by `tolerance`, relative and absolute;
    everything else is compared exactly. An answer that returns on every case what one of the usual `mistakes` returns
    gets the advice beside it, and else the `advice` of the first case that differs.
    """
    named = dict(enumerate(cases)) if not isinstance(cases, Mapping) else cases

    def every() -> Iterator[tuple[str, Case]]:
        for name, case in named.items():
            yield str(name) if named is cases else _arguments(case), case
        rng = np.random.default_rng([zlib.crc32(part.encode()), seed])
        for _ in range(draws if draw else 0):
            case = draw(rng)  # type: ignore[misc]
            yield f"a random case, {_arguments(case)}", case

    def judge(answer: Any) -> Wrong | None:
        if not callable(answer):
            return Wrong(f"expected a function, found {show(answer)}")
        if is_stub(answer):
            raise NotAttempted
        for number, (name, case) in enumerate(every()):
            words, stopped = compare(reference, answer, case, tolerance)
            if words:
                hint = "" if stopped else usual(answer) or (advice[number] if number < len(advice) else "")
                return Wrong(f"for {name}: {words}" + (f". {hint}" if hint else ""), case, hint)
        return None

    def examples(count: int) -> list[tuple[Case, Any]]:
        rng = np.random.default_rng([zlib.crc32(part.encode()), seed])
        cases = [draw(rng) for _ in range(count)] if draw else []
        return [(case, reference(*copy.deepcopy(list(case.values())))) for case in cases]

    def usual(answer: Any) -> str:
        """The advice on the usual mistake that explains every value of the answer, if one does."""
        with np.errstate(all="ignore"):
            for mistake, words in mistakes:
                if not any(compare(mistake, answer, case, tolerance)[0] for _, case in every()):
                    return words
        return ""

    return Exercise(judge, praise, part, library or reference, examples)


def _arguments(case: Case) -> str:
    return ", ".join(f"{key} = {show(value)}" for key, value in case.items())


def compare(
    reference: Callable[..., Any], answer: Callable[..., Any], case: Case, tolerance: float
) -> tuple[str | None, bool]:
    """The first difference on one case in words, or None; and whether the answer had to be stopped."""
    expected = None
    try:
        expected = reference(*copy.deepcopy(list(case.values())))
        found = call(answer, case)
    except (NotAttempted, NotImplementedError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a mistake's reference may raise, too
        return f"expected {show(expected)}, yours: {in_words(error)}", isinstance(error, TimeIsUp | Told)
    if found is None and expected is not None:
        return f"expected {show(expected)}, but your function returned None: is there a `return`?", False
    return difference(expected, found, tolerance), False


# ------------------------------------------------------------------------------------------------------------ modules


@dataclass(frozen=True)
class Built:
    """One case of a module: what it is made with, by position and by keyword, and the inputs that it is then given."""

    arguments: Case
    inputs: Callable[[torch.Generator], Sequence[Any]]
    keywords: Case = field(default_factory=dict)


def module(
    reference: Callable[..., nn.Module],
    cases: Mapping[str, Built],
    mistakes: Mistakes = (),
    *,
    tolerance: float = 1e-9,
    praise: str = "",
    part: str = "",
    library: Any = None,
) -> Exercise:
    """A module to write. For each case the library's weights are copied into the student's, and both get the same
    inputs in float64: outputs, and the gradients of the first input, must be equal, in training and in evaluation.

    An input that the student's module has written into is named. `mistakes` are classes, recognised by the same test.
    """

    def first_difference(made: Callable[..., Any], answer: Callable[..., Any]) -> Wrong | None:
        for name, built in cases.items():
            words = _module_difference(made, answer, built, tolerance)
            if words:
                return Wrong(f"{name}: {words}", {**built.arguments, **built.keywords})
        return None

    def judge(answer: Any) -> Wrong | None:
        if not callable(answer):
            return Wrong(f"expected a class, found {show(answer)}")
        if is_stub(answer):
            raise NotAttempted
        wrong = first_difference(reference, answer)
        for mistake, words in mistakes if wrong else ():
            if first_difference(mistake, answer) is None:
                return Wrong(f"{wrong.words}. {words}", wrong.case, words)  # type: ignore[union-attr]
        return wrong

    return Exercise(judge, praise, part, library or reference)


def _module_difference(
    reference: Callable[..., nn.Module], answer: Callable[..., Any], built: Built, tolerance: float
) -> str | None:
    torch_state = torch.get_rng_state()
    try:
        theirs = reference(*built.arguments.values(), **built.keywords).double()
        yours = call(answer, built.arguments, built.keywords)
        if not isinstance(yours, nn.Module):
            return f"expected an nn.Module, yours made {show(yours)}"
        words = copy_weights(theirs, yours.double())
        for mode in (True, False) if not words else ():
            words = words or _run_difference(theirs.train(mode), yours.train(mode), built, tolerance)
        return words
    except (NotImplementedError, KeyboardInterrupt):
        raise
    except BaseException as error:
        return in_words(error)
    finally:
        torch.set_rng_state(torch_state)


def _run_difference(theirs: nn.Module, yours: nn.Module, built: Built, tolerance: float) -> str | None:
    mode = "in training" if theirs.training else "in evaluation"
    given = [_double(value) for value in built.inputs(torch.Generator().manual_seed(0))]
    outputs, slopes = [], []
    for network, run in ((theirs, theirs), (yours, partial(within, SECONDS, yours))):
        inputs = copy.deepcopy(given)
        first = next(value for value in inputs if isinstance(value, Tensor))
        first.requires_grad_()
        torch.manual_seed(0)  # dropout
        output = run(*inputs)
        if network is yours and output is None:
            return f"{mode}: forward returned None: is there a `return`?"
        if network is yours and not isinstance(output, Tensor):
            return f"{mode}: expected a tensor, yours gave {show(output)}"
        for before, after in zip(given, inputs, strict=True):
            if isinstance(before, Tensor) and not torch.equal(before, after.detach()):
                return f"{mode}: your module has written into its input: take operations that make a new tensor"
        outputs.append(output)
        weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
        needs = output.requires_grad
        slopes.append(torch.autograd.grad((weights * output).sum(), first, allow_unused=True)[0] if needs else None)
    words = difference(outputs[0].detach(), outputs[1], tolerance)
    if words:
        return f"{mode}: {words}"
    nothing = torch.zeros_like(next(value for value in given if isinstance(value, Tensor)))
    theirs_slope, yours_slope = (nothing if slope is None else slope for slope in slopes)
    words = difference(theirs_slope, yours_slope, tolerance)
    return f"{mode}: the output is right, its gradient with respect to the input is not: {words}" if words else None


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def copy_weights(source: nn.Module, target: nn.Module) -> str | None:
    """Copy parameters and buffers, by name where the names agree, else by shape in the order of definition. Returns
    words where the shapes do not agree."""
    given, wanted = (_tensors(network) for network in (source, target))
    if given.keys() != wanted.keys() or any(given[name].shape != wanted[name].shape for name in given):
        by_shape = [
            sorted(enumerate(found.values()), key=lambda item: (item[1].shape, item[0])) for found in (given, wanted)
        ]
        shapes = [[tuple(tensor.shape) for _, tensor in found] for found in by_shape]
        if shapes[0] != shapes[1]:
            return f"the weights of the library's have the shapes {_counted(shapes[0])}, of yours {_counted(shapes[1])}"
        pairs = [(one, other) for (_, one), (_, other) in zip(*by_shape, strict=True)]
    else:
        pairs = [(given[name], wanted[name]) for name in given]
    with torch.no_grad():
        for one, other in pairs:
            other.copy_(one)
    return None


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    found = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: tensor for name, tensor in found.items() if tensor.is_floating_point()}


def _counted(shapes: Sequence[tuple[int, ...]]) -> str:
    kinds = dict.fromkeys(shapes)
    text = ", ".join(f"{shapes.count(kind)} × {kind}" if shapes.count(kind) > 1 else f"{kind}" for kind in kinds)
    return text or "(none)"


# ------------------------------------------------------------------------------------------------------------- values


def value(expected: Any, slips: Mapping[Any, str], *, tolerance: float = 1e-5, praise: str = "") -> Exercise:
    """A number, a word or a set to find. `slips` has advice for certain wrong answers."""

    def judge(answer: Any) -> str | None:
        if difference(expected, answer, tolerance) is None:
            return None
        advice = next((words for slip, words in slips.items() if difference(slip, answer, tolerance) is None), "")
        return f"{show(answer)} is not it. {advice}".strip()

    return Exercise(judge, praise)


def difference(expected: Any, found: Any, tolerance: float = 1e-5) -> str | None:
    """The first difference between two answers in words, or None.

    An answer may come in another form: a set as a list, a list as a generator, a number as a fraction, a string or an
    array of one, a word in capitals or with other punctuation.
    """
    if isinstance(found, Iterator | range):
        found = list(found)
    if isinstance(found, np.generic):
        found = found.item()
    if isinstance(expected, _ARRAYS):
        return _array_difference(np.asarray(_on_cpu(expected)), found, tolerance)
    if isinstance(found, _ARRAYS):
        found = _on_cpu(found)
        found = found.item() if isinstance(expected, Real) and len(found.flatten()) == 1 else found.tolist()
    words = f"expected {show(expected)}, yours gave {show(found)}"
    if isinstance(expected, _SETS):
        some = isinstance(found, (*_SETS, list, tuple))
        alike = some and {_plain(x) for x in found} == {_plain(x) for x in expected}
        return None if alike else words
    if isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(expected) != len(found):
            return words
        inner = ((i, difference(e, f, tolerance)) for i, (e, f) in enumerate(zip(expected, found, strict=True)))
        return next((f"item {i}: {words}" for i, words in inner if words), None)
    if isinstance(expected, Real):
        number = _number(found)
        return None if number is not None and np.isclose(number, float(expected), tolerance, tolerance, True) else words
    return None if _plain(expected) == _plain(found) else words


def _on_cpu(array: Any) -> Any:
    return array.detach().cpu() if isinstance(array, Tensor) else array


def _number(found: Any) -> float | None:
    """A number, also one that is written as a string, with a percent sign or as a fraction; None for all else."""
    if isinstance(found, Real):
        return float(found)
    try:
        return float(Fraction(found.rstrip(" %"))) / (100 if found.endswith("%") else 1)
    except (AttributeError, ValueError, ZeroDivisionError):
        return None


def _plain(answer: Any) -> Any:
    """An answer without what is mere form: capitals and punctuation of words, lists in the place of tuples."""
    if isinstance(answer, (list, tuple)):
        return tuple(map(_plain, answer))
    if isinstance(answer, dict):
        return {key: _plain(value) for key, value in answer.items()}
    if isinstance(answer, (int, float)) and not isinstance(answer, bool) and float(answer).is_integer():
        return str(int(answer))
    if isinstance(answer, str):
        return "".join(letter for letter in answer.casefold().replace("×", "x") if letter.isalnum()) or answer
    return answer


def _array_difference(expected: np.ndarray, found: Any, tolerance: float) -> str | None:
    try:
        if isinstance(found, (list, tuple)) and any(isinstance(item, Tensor) for item in found):
            found = torch.stack([torch.as_tensor(item) for item in found])
        array = np.asarray(_on_cpu(found))
    except (ValueError, TypeError, RuntimeError):
        array = np.empty(0, dtype=object)
    if array.shape != expected.shape:
        return f"expected the shape {expected.shape}, yours gave {array.shape or show(found)}"
    if array.dtype.kind not in "biuf":
        return f"expected numbers, yours gave {show(found)}"
    wrong = np.argwhere(~np.isclose(array, expected, tolerance, tolerance, True))
    if not len(wrong):
        return None
    first = tuple(int(index) for index in wrong[0])
    place = f"at {list(first)}, " if first else ""
    return f"{place}expected {show(expected[first].item())}, yours gave {show(array[first].item())}"


def show(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, _ARRAYS):
        return show(value.tolist()) if len(value.flatten()) <= 16 else f"numbers of the shape {tuple(value.shape)}"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if not value.is_integer() else str(int(value))
    if isinstance(value, (list, tuple, *_SETS)):
        opening, closing = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
        items = sorted(map(show, value)) if isinstance(value, _SETS) else map(show, value)
        text = f"{opening}{', '.join(items)}{closing}"
    elif callable(value) and hasattr(value, "__name__"):
        text = value.__name__
    else:
        text = str(value) if isinstance(value, Real) else repr(value)
    return text if len(text) <= 160 else text[:157] + "…"


def judged(exercise: Exercise, answer: Any) -> Wrong | None:
    """What is wrong with an answer. Raises `NotAttempted` for a stub; else nothing but KeyboardInterrupt."""
    try:
        found = exercise.judge(attempted(answer))
    except NotImplementedError as error:
        raise NotAttempted from error
    except (NotAttempted, KeyboardInterrupt):
        raise
    except NasdaError as error:
        return Wrong(str(error))
    except BaseException as error:  # whatever a student's answer makes of our cases
        return Wrong(in_words(error))
    return Wrong(found) if isinstance(found, str) else found
