"""What the doctor finds, and what it means for a script. Pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from runtime import exits


class Grade(StrEnum):
    """How good a finding is. A check that could not be made because another failed is `skipped`."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


class Finding(NamedTuple):
    """One line. `advice` says what to do; empty when all is well."""

    check: str
    grade: Grade
    detail: str
    advice: str = ""


_BAD: Final = {Grade.FAILED, Grade.UNREACHABLE}


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Grade.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """It works, but not as well or not as long as it should."""
    return Finding(check, Grade.WARNING, detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """The agent cannot do its work like this."""
    return Finding(check, Grade.FAILED, detail, advice)


def unreachable(check: str, detail: str, advice: str) -> Finding:
    """Another machine does not answer."""
    return Finding(check, Grade.UNREACHABLE, detail, advice)


def skipped(check: str, detail: str, advice: str = "") -> Finding:
    """Not known."""
    return Finding(check, Grade.SKIPPED, detail, advice)


def exit_code(findings: Iterable[Finding], strict: bool) -> int:
    """Of the worst: a failure is FAILED, or UNREACHABLE when nothing else is wrong; warnings count when `strict`."""
    grades = {finding.grade for finding in findings}
    if Grade.FAILED in grades or (strict and Grade.WARNING in grades):
        return exits.FAILED
    return exits.UNREACHABLE if grades & _BAD else exits.OK
