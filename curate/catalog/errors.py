"""Errors that are the user's to mend: one line that says what, why and what to do next."""

from __future__ import annotations


class InputError(Exception):
    """Bad input: *what* is wrong, *why*, and what to *do* next; the command line exits with 2.

    Args:
        what: the object that is wrong, with its name ("Recipe europe.yaml has an unknown key 'budgett'").
        why: the reason, or "" where *what* already says it.
        do: the option, command or edit that helps.
    """

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        self.what, self.why, self.do = what, why, do
        super().__init__(what, why, do)

    def __str__(self) -> str:
        said = ": ".join(part.rstrip(". ") for part in (self.what, self.why) if part)
        return ". ".join(part.rstrip(". ") for part in (said, self.do) if part) + "."


class RunError(Exception):
    """A run that failed through no fault of its input; the command line exits with 1."""
