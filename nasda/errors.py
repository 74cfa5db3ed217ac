"""The one error that is meant for a person rather than for a programmer."""


class NasdaError(Exception):
    """Something the user can put right: one line that says what was found, what was expected, what to do.

    The `nasda` command prints the line and exits with status 2; a notebook shows it as it is.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    r"""`text` on one line, even where it quotes a file whose name holds a line break or what no terminal can show:
    such characters are written as Python writes them, "\n"."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
