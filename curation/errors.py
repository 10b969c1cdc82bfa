"""The exceptions that a user is meant to see.

Belongs here: errors that a person can mend (a wrong setting, a missing file, an unknown id).
Does not belong here: faults of bad input rows (those are quarantined, see `verdicts`) and bugs.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: what is wrong, where, and what is allowed.

    The command line prints it as one line and exits with status 2; it never shows a traceback.
    """

    def __init__(self, what: str, *, where: str = "", allowed: str = "") -> None:
        self.what, self.where, self.allowed = what, where, allowed
        parts = [f"{where}: {what}" if where else what]
        if allowed:
            parts.append(f"allowed: {allowed}")
        super().__init__("; ".join(parts))


class RunFailed(Exception):
    """A stage or a blocking check failed; the message says which and why. Exit status 1."""
