"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Bad input: the message is one line that says what was wrong, where, and what to do."""
