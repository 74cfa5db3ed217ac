"""The one error that is meant for the user, not for a programmer."""


class NasdaError(Exception):
    """A fault that the user can mend: one line that says what was found, what was expected, and what to do.

    The `nasda` command prints the line and exits with status 2.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    r"""`text` on one line: line breaks and other unprintable characters (from a file's name, say) as Python's escapes,
    such as "\n"."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
