"""The errors that are told to the user as a sentence."""


class UserError(Exception):
    """Something the user can mend: one sentence that says what happened and what to do.

    The command line prints the sentence and exits with code 1; every other exception is a bug
    and keeps its traceback.
    """


class StoppedError(Exception):
    """The user pressed Ctrl-C; says what is kept and how to go on."""


class UnreadableImage(Exception):
    """The file holds no image that can be used; ``reason`` is a fragment fit for a table."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
