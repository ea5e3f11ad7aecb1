"""The two ways in which ssbench stops: the input is wrong, or one run could not be finished."""


class BadInputError(Exception):
    """Something the user wrote or asked for cannot be used; ends with exit code 2.

    The message names the place (file, key path or option), what is wrong and the remedy.
    """


class RunFailedError(Exception):
    """One run cannot go on (diverged, out of memory, a method raised); the other runs do."""
