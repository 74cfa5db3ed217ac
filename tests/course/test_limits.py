"""A limit ends what runs too long, and leaves alone what does not."""

import threading
import time
from contextlib import suppress

import pytest

from nasda.course.limits import TimeIsUp, within


def endless() -> None:
    while True:
        try:
            while True:
                pass
        except:  # noqa: E722 (what a student may write)
            pass


def turning() -> None:
    while True:
        pass


def test_a_loop_that_catches_everything_ends() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeIsUp):
        within(0.1, endless)
    for _ in range(1000):
        str(begun)  # what was still to strike would do so here
    assert time.monotonic() - begun < 5


def test_what_a_function_returns_and_raises_gets_through() -> None:
    assert within(5, divmod, 7, 2) == (3, 1)
    assert within(5, int, "11", base=2) == 3
    with pytest.raises(ZeroDivisionError):
        within(5, divmod, 7, 0)


def test_nothing_strikes_afterwards() -> None:
    for _ in range(50):
        with suppress(TimeIsUp):
            within(0.001, time.sleep, 0.001)
        sum(range(10_000))
    assert not [thread for thread in threading.enumerate() if "watch" in thread.name]


def test_it_works_in_another_thread() -> None:
    ended = []

    def work() -> None:
        try:
            within(0.1, turning)
        except TimeIsUp:
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert ended == [True]
