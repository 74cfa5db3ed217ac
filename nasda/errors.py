"""The one error that is meant for a person rather than for a programmer."""


class NasdaError(Exception):
    """Something the user can put right: one line that says what was found, what was expected, what to do.

    The `nasda` command prints the line and exits with status 2; a notebook shows it as it is.
    """
