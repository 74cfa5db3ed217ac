"""The one error that is meant for the user, not for a programmer."""

import re

_PARAMETERS = ("data-root", "profile", "task", "seed")  # of a notebook, in capitals
_OPTION = re.compile(r"(?P<command>`[^`]*`|\bnasda [a-z][^;,]*)|(?<![\w-])--(?P<option>[a-z][a-z-]*)")


class NasdaError(Exception):
    """A fault that the user can mend: one line that says what was found, what was expected, and what to do.

    The `nasda` command prints the line and exits with status 2. A notebook shows it without a traceback.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())

    def in_a_notebook(self) -> str:
        """The line in a notebook's words: its parameters, such as DATA_ROOT, and settings for the command's options. A
        command to run stays as it is."""
        said = str(self).replace("choose another --out", "move that folder away")
        return _OPTION.sub(lambda found: found["command"] or _name(found["option"]), said)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows."""
        return [f"NasdaError: {self.in_a_notebook()}"]


def _name(option: str) -> str:
    return (option.upper() if option in _PARAMETERS else option).replace("-", "_")


def one_line(text: str) -> str:
    r"""`text` on one line: line breaks and other unprintable characters (from a file's name, say) as Python's escapes,
    such as "\n"."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
