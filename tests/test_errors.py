"""nasda.errors: an error is one line, whatever it quotes."""

import os

import pytest

from nasda.errors import NasdaError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("α: 64×32, “so” …", "α: 64×32, “so” …"),
        ("two\nlines.jpg", r"two\nlines.jpg"),
        ("\x1b[31mred\r.jpg", r"\x1b[31mred\r.jpg"),
        (os.fsdecode(b"\xff.jpg"), r"\udcff.jpg"),  # a name that is no UTF-8
        ("next\u2028line", r"next\u2028line"),
    ],
)
def test_a_message_stays_on_one_line(said: str, shown: str) -> None:
    assert str(NasdaError(said)) == shown
    assert len(str(NasdaError(said)).splitlines()) == 1
