"""The errors that are told to the user as a sentence."""


class UserError(Exception):
    """Something the user can mend: one sentence that says what happened and what to do.

    The command line prints the sentence and exits with code 1; every other exception is a bug
    and keeps its traceback.
    """


class StoppedError(Exception):
    """The user pressed Ctrl-C; says what is kept and how to go on."""
