"""What can go wrong for a user, each with its exit code; `main` prints the sentence and returns the code."""


class Failure(Exception):
    """The command could not do what was asked. The text is one sentence: what, where, what to do."""

    code = 1


class UsageError(Failure):
    """The request itself is wrong: an unknown name, a bad value, a file that is not there."""

    code = 2


class Leakage(Failure):
    """Clips of one source stand on both sides of a split."""

    code = 3


class Refused(Failure):
    """The gate did not let a model be promoted."""

    code = 4


FINISHED_WITH_FAILURES = 5
INTERRUPTED = 130
