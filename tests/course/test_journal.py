"""Predictions and recall are silent without an answer, judge it in words, and are logged; progress sums the log up."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from nasda.course import predict as course
from nasda.course.check import check
from nasda.course.journal import Entry, Journal, hours, progress
from nasda.course.predict import Question, predict, recall
from nasda.errors import NasdaError


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def logged() -> list[tuple[str, str, bool]]:
    return [(entry.kind, entry.name, entry.right) for entry in Journal.here().entries()]


def test_no_guess_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    predict("02.a", ..., unit="nats").against(3.0)
    predict("02.b", ..., "rises", "falls").against("rises")
    assert said(capsys) == ""
    assert logged() == []


def test_a_number_is_right_within_a_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    predict("02.a", 0.8, unit="nats").against(1.0)
    predict("02.a", "0.7").against(1.0)
    predict("02.c", -1).against(1)
    assert said(capsys).splitlines() == [
        "Prediction 02.a: you said 0.8 nats, it is 1 nats: right.",
        "Prediction 02.a: you said 0.7, it is 1: not so.",
        "Prediction 02.c: you said -1, it is 1: not so.",
    ]
    assert logged() == [("prediction", "02.a", True), ("prediction", "02.a", False), ("prediction", "02.c", False)]


def test_a_choice_may_be_written_in_another_form(capsys: pytest.CaptureFixture[str]) -> None:
    predict("02.b", " Rises.", "rises", "falls").against("rises")
    predict("02.b", "falls", "rises", "falls").against("rises")
    assert "it is 'rises': right." in said(capsys)
    assert [right for *_, right in logged()] == [True, False]


@pytest.mark.parametrize("guess", ["much", None, True, [1, 2], float("nan")])
def test_a_guess_that_is_no_number_is_told(guess: object, capsys: pytest.CaptureFixture[str]) -> None:
    predict("02.a", guess, unit="nats").against(1.0)
    assert "Prediction 02.a: expected a number (nats), found" in said(capsys)
    assert logged() == []


def test_a_guess_that_is_none_of_the_choices_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    predict("02.b", "stays", "rises", "falls").against("rises")
    assert said(capsys) == "Prediction 02.b: 'stays' is none of the answers: expected 'rises' or 'falls'\n"


def test_recall_says_why_and_where(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    questions = SimpleNamespace(RECALL=(Question("a", "Because."), Question("c", "So.")))
    monkeypatch.setattr(course.importlib, "import_module", lambda _: questions)
    recall("02", ..., ...)
    assert said(capsys) == ""
    recall("02", "(A)", "b")
    assert said(capsys) == "✓ question 1: right. Because.\n✗ question 2: not so. So.\n"
    assert logged() == [("recall", "02.r1", True), ("recall", "02.r2", False)]
    recall("02", "a")
    assert said(capsys) == "recall: expected 2 answers, one a question, found 1\n"


def test_check_is_logged_and_a_stub_is_not() -> None:
    check("01.1", lambda channels: 1)
    check("01.1", ...)
    assert logged() == [("exercise", "01.1", False)]


def test_two_notebooks_write_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: Journal.here().add("exercise", f"01.{number}", True), range(40)))
    assert len(logged()) == 40


def test_a_broken_log_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "my_course.jsonl")
    assert journal.entries() == []
    journal.path.write_text('{"time": 1}\n')
    with pytest.raises(NasdaError, match=r"my_course\.jsonl"):
        journal.entries()


def at(minutes: int, name: str, right: bool, kind: str = "exercise") -> Entry:
    stamp = f"2026-11-25T{10 + minutes // 60}:{minutes % 60:02d}:00+00:00"
    return Entry(**json.loads(json.dumps({"time": stamp, "kind": kind, "name": name, "right": right})))


def test_hours_leave_pauses_out_and_progress_keeps_what_was_right_once() -> None:
    entries = [at(0, "01.1", True), at(15, "01.1", False), at(30, "01.a", True, "prediction"), at(120, "02.1", False)]
    assert hours(entries) == 0.5
    rows = progress(entries, {"01": ["01.1", "01.2"], "02": ["02.1"]}).splitlines()[2:]
    assert [" ".join(row.split()) for row in rows] == ["01 1 of 2 1 of 1 - 0.5", "02 0 of 1 - - 0.0"]
