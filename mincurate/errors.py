"""The one error a user can mend."""


class UserError(Exception):
    """Something the user can mend: one sentence that says what happened and what to do.

    The command line prints the sentence and exits with code 1; every other exception is a bug
    and keeps its traceback.
    """
