"""The exceptions whose text is written for the user."""


class UserError(Exception):
    """Something the user can fix: one sentence that says what happened and what to do.

    The command line prints the sentence and exits with code 1. Every other exception is a bug and
    keeps its traceback.
    """


class StoppedError(Exception):
    """The user pressed Ctrl-C; the text says what is kept and how to go on."""


class UnreadableImage(Exception):
    """The file holds no image that can be used; ``reason`` is a fragment fit for a table."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def reason(error: BaseException, limit: int = 200) -> str:
    """The first line of an exception's text, cut to ``limit`` characters, or else its class."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if len(line) <= limit else line[: limit - 1] + "…"
