"""What a check finds."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Verdict(enum.StrEnum):
    """How a check ends."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict, the words for it, the numbers behind it, and what to do about a fault."""

    verdict: Verdict
    says: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""


def passed(says: str, **numbers: Any) -> Finding:
    """Nothing wrong was found."""
    return Finding(verdict=Verdict.PASS, says=says, numbers=numbers)


def failed(says: str, remedy: str, **numbers: Any) -> Finding:
    """A fault, and what to do about it."""
    return Finding(verdict=Verdict.FAIL, says=says, remedy=remedy, numbers=numbers)


def inconclusive(says: str, **numbers: Any) -> Finding:
    """The check cannot tell."""
    return Finding(verdict=Verdict.INCONCLUSIVE, says=says, numbers=numbers)


def not_applicable(says: str) -> Finding:
    """There is nothing to check."""
    return Finding(verdict=Verdict.NOT_APPLICABLE, says=says)
