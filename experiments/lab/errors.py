"""What a user can mend."""


class UsageError(Exception):
    """What the user can mend: one line and exit status 2."""
