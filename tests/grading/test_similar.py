"""Answers that differ in names and comments alone are listed; others are not."""

import json
from pathlib import Path

from nasda.grading.problem_set import ProblemSet, Question
from nasda.grading.similar import alike, as_csv, folded
from nasda.grading.submission import Submission, read_submission

ANSWER = """
def depths(nodes):
    \"\"\"One number a node.\"\"\"
    found = [0, 0]
    for first, second in nodes:
        found.append(1 + max(found[first], found[second]))
    return found[2:]
"""
RENAMED = """
def depths(cells):  # mine
    d = [0, 0]
    for i, j in cells:
        d.append(1 + max(d[i], d[j]))

    return d[2:]
"""
OTHER = ANSWER.replace("max", "min").replace("1 +", "2 -")


def handed_in(folder: Path, student: str, code: str) -> Submission:
    cell = {"cell_type": "code", "metadata": {"nbgrader": {"grade_id": "q"}}, "source": code}
    path = folder / f"{student}.ipynb"
    path.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    return read_submission(student, path)


def test_names_and_comments_do_not_count() -> None:
    assert folded(ANSWER) == folded(RENAMED)
    assert folded(ANSWER) != folded(OTHER)
    assert folded("def f(x):\n    return x") == "", "too short to say anything"


def test_groups_of_the_same_answer(tmp_path: Path) -> None:
    answers = {"ada": ANSWER, "ben": RENAMED, "cy": OTHER, "dee": "def depths(nodes) return 1", "eve": ""}
    submissions = [handed_in(tmp_path, student, code) for student, code in answers.items()]
    groups = alike(submissions, ProblemSet("ps", [Question("q", "depths")]))
    assert groups == [("q", ["ada", "ben"])]
    assert as_csv(groups).splitlines()[1] == "q,ada; ben"
