"""nasda.study.paper: the paper's numbers, read from its text where that is at hand, and its errata."""

import pytest

from nasda.study.paper import NOTES, TABLE_1, paper_row


def test_the_rows_say_what_the_paper_prints() -> None:
    printed = """
        vehicle NAS S 3.82 8.67 19.74; vehicle NAS S+R 5.44 12.28 20.08; vehicle ResNet-50 S 21.29 51.25 67.70
        person NAS S 10.44 22.00 39.79; person NAS S+R 16.48 34.98 56.00; person ResNet-50 S 14.19 26.53 -
        person ResNet-50_(SPGAN) S+R 21.35 41.11 -"""
    lines = [line.split() for part in printed.strip().splitlines() for line in part.split(";")]
    expected = [
        (task, method.replace("_", " "), data, *(None if value == "-" else float(value) for value in values))
        for task, method, data, *values in lines
    ]
    assert [tuple(row)[:6] for row in TABLE_1] == expected


def test_the_differences_that_the_text_names_follow_from_the_table() -> None:
    """§3.4 and §3.5 name gains of S+R over S, one task each; the introduction has the two mAPs swapped."""
    gains = {}
    for task in ("vehicle", "person"):
        s, sr = paper_row(task, "NAS", "S"), paper_row(task, "NAS", "S+R")
        assert s is not None
        assert sr is not None
        assert s.rank5 is not None
        assert sr.rank5 is not None
        gains[task] = [round(b - a, 2) for a, b in ((s.mAP, sr.mAP), (s.rank1, sr.rank1), (s.rank5, sr.rank5))]
    assert gains["person"] == [6.04, 12.98, 16.21]
    assert gains["vehicle"][0] == 1.62


def test_every_row_s_notes_are_there_and_every_note_is_of_a_row() -> None:
    assert {note for row in TABLE_1 for note in row.notes} == set(NOTES)


@pytest.mark.parametrize("data", ["S", "S+R"])
def test_what_the_paper_does_not_have_is_none(data: str) -> None:
    assert paper_row("vehicle", "ResNet-50 (SPGAN)", data) is None
