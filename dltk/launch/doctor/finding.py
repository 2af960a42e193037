"""What a look at the machine finds."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Verdict(enum.StrEnum):
    """How a check ends."""

    OK = "OK"
    WARN = "WARN"  # works, and worse than it could
    FAIL = "FAIL"  # a training would fail here
    INFO = "INFO"  # there or not; either is fine


@dataclass(frozen=True)
class Finding:
    """A verdict, the words for it, what to do about it, and the numbers behind it."""

    verdict: Verdict
    says: str
    remedy: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)


def ok(says: str, **numbers: Any) -> Finding:
    """As it should be."""
    return Finding(Verdict.OK, says, numbers=numbers)


def warn(says: str, remedy: str, **numbers: Any) -> Finding:
    """Worse than it could be."""
    return Finding(Verdict.WARN, says, remedy, numbers)


def fail(says: str, remedy: str, **numbers: Any) -> Finding:
    """In the way of every training."""
    return Finding(Verdict.FAIL, says, remedy, numbers)


def info(says: str, **numbers: Any) -> Finding:
    """Good to know."""
    return Finding(Verdict.INFO, says, numbers=numbers)
