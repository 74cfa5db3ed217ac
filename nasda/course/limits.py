"""A limit on how long a student's code may run."""

import ctypes
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_AGAIN = 0.1  # seconds between two bursts
_BURST = 3  # interrupts at three steps in a row: code that catches the first one is struck in its `except`


class TimeIsUp(BaseException):
    """The code ran longer than its limit. Not an `Exception`, so that `except Exception` in it does not catch this."""


class _Interrupt:
    """An object whose truth value raises `TimeIsUp` in what `frame` has called, while it is not `over`.

    Otherwise it is False: as a pending call of Python's, that means that all is well.
    """

    over = True

    def __init__(self, frame: FrameType) -> None:
        self.frame = frame

    def __bool__(self) -> bool:
        above = sys._getframe().f_back
        if self.over or above is self.frame:
            return False
        while above is not None and above is not self.frame:
            above = above.f_back
        if above is not None:
            raise TimeIsUp
        return False


def within(seconds: float, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
    """What `function` returns; raises `TimeIsUp` in it once it has run for so many seconds.

    Unlike a signal this works on every system, and in every thread; code that catches everything in an endless loop is
    stopped in the main thread, where notebooks run. It strikes between two steps of Python: one long call into C (a
    huge matrix product) ends first.
    """
    interrupt, ended = _Interrupt(sys._getframe()), threading.Event()
    thread = threading.get_ident()
    strike = _in_main if threading.current_thread() is threading.main_thread() else _elsewhere

    def watch() -> None:
        wait = seconds
        while not ended.wait(wait):
            wait = _AGAIN
            strike(thread, interrupt)

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        watcher.start()
        interrupt.over = False
        return function(*arguments, **keywords)
    finally:
        interrupt.over = True  # a plain assignment: nothing strikes before it
        ended.set()
        watcher.join()
        if strike is _elsewhere:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)


def _in_main(_: int, interrupt: _Interrupt) -> None:
    """Let the main thread ask for the truth of `interrupt` at its next steps."""
    for _ in range(_BURST):
        ctypes.pythonapi.Py_AddPendingCall(ctypes.pythonapi.PyObject_IsTrue, ctypes.py_object(interrupt))


def _elsewhere(thread: int, interrupt: _Interrupt) -> None:
    if not interrupt.over:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeIsUp))
