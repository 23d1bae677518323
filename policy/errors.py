"""The errors, named by what the caller does about them.

Invariant: a message says what happened, to which site or run, and what to do next; it never holds a secret
or an unchecked input.
"""

from __future__ import annotations


class FreshetError(Exception):
    """Root of all errors that Freshet raises on purpose."""


class Refused(FreshetError):
    """The request itself is wrong: do not retry; tell the person which field, why, and the remedy.

    Attributes:
        findings: every reason at once, each one sentence.
    """

    def __init__(self, *findings: str) -> None:
        self.findings: tuple[str, ...] = findings
        super().__init__("\n".join(findings))


class Busy(FreshetError):
    """Somebody else holds what is needed: try later; nothing was changed."""


class Unavailable(FreshetError):
    """Something outside did not answer: retry with back-off; nothing was changed by the failing call."""


class StepFailed(FreshetError):
    """A step of a run failed: put back what the run did."""


class TimedOut(StepFailed):
    """A step took longer than it may, and what it had started was ended: put back what the run did."""


class Cancelled(StepFailed):
    """Somebody cancelled, and what the step had started was ended: put back what the run did."""


class NeedsHuman(FreshetError):
    """Putting back failed, or the world contradicts the journal: keep all, lock the site, call somebody."""
