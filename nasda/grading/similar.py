"""Answers that are alike: for a person to look at. Nothing is concluded from it, and no mark depends on it."""

import ast
import csv
import io
from collections.abc import Sequence

from nasda.grading.problem_set import ProblemSet
from nasda.grading.submission import Submission, parsed

LEAST = 40
"""Parts that a syntax tree must have: short answers to the same question are alike by themselves."""


def folded(code: str) -> str:
    """The syntax tree of code without docstrings, with every name that it gives itself replaced by a number, in the
    order in which they come; "" for a tree of fewer than `LEAST` parts."""
    tree = parsed(code)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    numbers: dict[str, str] = {}
    for node in ast.walk(tree):
        for field in ("id", "arg", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                setattr(node, field, numbers.setdefault(name, f"n{len(numbers)}"))
    return ast.dump(tree) if sum(1 for _ in ast.walk(tree)) >= LEAST else ""


def alike(submissions: Sequence[Submission], problem_set: ProblemSet) -> list[tuple[str, list[str]]]:
    """For each question the groups of students whose answers have the same folded tree."""
    found = []
    for question in problem_set.questions:
        groups: dict[str, list[str]] = {}
        for submission in submissions:
            tree = folded(submission.own_cell(question.cell_id))
            if tree:
                groups.setdefault(tree, []).append(submission.student)
        found += [(question.cell_id, students) for students in groups.values() if len(students) > 1]
    return found


def as_csv(groups: Sequence[tuple[str, list[str]]]) -> str:
    """A row a group: the question, then the students."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["question", "students with the same answer but for names and comments"])
    rows.writerows([question, "; ".join(students)] for question, students in groups)
    return text.getvalue()
