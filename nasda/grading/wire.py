"""Values between the judge and a worker, as JSON: plain data only, so that reading a message runs no code.

A tensor or an array is its bytes, type and shape. What a student's answer returns becomes numbers, words and lists
here: an object of his own class, which might be equal to everything, does not get through.
"""

import base64
import json
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch

LARGEST = 64 * 2**20
"""Bytes of the longest message that is read."""
_KIND = "nasda"  # the key that marks what JSON has no form for
_FORMS: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda items: tuple(_decoded(item) for item in items),
    "set": lambda items: {_hashable(_decoded(item)) for item in items},
    "dict": lambda pairs: {_hashable(_decoded(key)): _decoded(value) for key, value in pairs},
    "fraction": lambda parts: Fraction(int(parts[0]), int(parts[1])),
    "float": float,
    "int": int,
    "array": lambda parts: _array(*parts),
    "tensor": lambda parts: torch.from_numpy(_array(*parts)),
    "generator": lambda state: _generator(state),
}


class NotPlain(ValueError):
    """A value that is no number, word, tensor, array or collection of them; the message says what it is."""


def to_text(value: Any) -> str:
    """A value as one line of JSON. Raises `NotPlain`."""
    return json.dumps(_encoded(value, 0), ensure_ascii=True)


def from_text(text: str | bytes) -> Any:
    """The inverse of `to_text`; raises `NotPlain` for every other text."""
    try:
        return _decoded(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError, RuntimeError) as error:
        raise NotPlain(f"not a plain value: {error}") from error


def _encoded(value: Any, depth: int) -> Any:
    if depth > 20:
        raise NotPlain("lists inside of lists, more than twenty deep")
    kind = type(value)  # not isinstance: a subclass may answer for itself
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if abs(value) < 2**53 else _form("int", str(value))
    if kind is float:
        return value if math.isfinite(value) else _form("float", repr(value))
    if kind is Fraction:
        return _form("fraction", [str(value.numerator), str(value.denominator)])
    if kind is list:
        return [_encoded(item, depth + 1) for item in value]
    if kind in (tuple, set, frozenset):
        return _form("tuple" if kind is tuple else "set", [_encoded(item, depth + 1) for item in value])
    if kind is dict:
        return _form("dict", [[_encoded(key, depth + 1), _encoded(item, depth + 1)] for key, item in value.items()])
    if kind in (torch.Tensor, torch.nn.Parameter):
        return _form("tensor", _parts(value.detach().cpu().contiguous().numpy()))
    if kind is np.ndarray:
        return _form("array", _parts(value))
    if isinstance(value, np.generic):
        return _encoded(value.item(), depth + 1)
    if kind is torch.Generator:
        return _form("generator", _parts(value.get_state().numpy()))
    if kind is range or hasattr(kind, "__next__"):
        return [_encoded(item, depth + 1) for item, _ in zip(value, range(LARGEST // 8), strict=False)]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _encoded(tuple(tuple.__iter__(value)), depth)
    raise NotPlain(f"an object of the class {kind.__name__}")


def _form(kind: str, content: Any) -> dict[str, Any]:
    return {_KIND: kind, "value": content}


def _parts(array: np.ndarray) -> list[Any]:
    if array.dtype.kind not in "biuf":
        raise NotPlain(f"an array of {array.dtype}")
    return [array.dtype.str, list(array.shape), base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()]


def _decoded(found: Any) -> Any:
    if isinstance(found, list):
        return [_decoded(item) for item in found]
    if isinstance(found, dict):
        return _FORMS[found[_KIND]](found["value"])
    return found


def _hashable(value: Any) -> Any:
    """A value as a member of a set: a list becomes a tuple."""
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


def _array(kind: str, shape: list[int], content: str) -> np.ndarray:
    dtype = np.dtype(kind)
    if dtype.kind not in "biuf":
        raise NotPlain(f"an array of {dtype}")
    return np.frombuffer(base64.b64decode(content), dtype).reshape(shape).copy()


def _generator(state: list[Any]) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(_array(*state)))
    return generator
