"""Lengths of time as people and Slurm write them."""

import re

_CLOCK = re.compile(r"((?P<d>\d+)-)?(?P<h>\d+):(?P<m>[0-5]\d):(?P<s>[0-5]\d)\Z", re.ASCII)
_DAYS = re.compile(r"(?P<d>\d+)-(?P<h>\d+)(:(?P<m>[0-5]\d))?\Z", re.ASCII)
_UNITS = re.compile("".join(rf"((?P<{unit}>\d+(\.\d+)?){unit})?" for unit in "dhms") + r"\Z", re.ASCII)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class Duration(str):
    """A length of time as text: `24:00:00`, `2-12:00` (days-hours:minutes, as Slurm writes it), `90m`, `1h30m`.

    `1:30` is refused, for it is minutes and seconds to Slurm and hours and minutes to most readers; so is a bare
    number.

    Raises:
        ValueError: the text is none of these.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "Duration":
        """The text, once it is known to be a duration."""
        _seconds(text)
        return super().__new__(cls, text)

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return _seconds(self)


def _seconds(text: str) -> float:
    found = _CLOCK.match(text) or _DAYS.match(text) or (text and _UNITS.match(text))
    if not found:
        raise ValueError(f"{text!r} is no duration")
    return float(sum(float(number) * _SECONDS[unit] for unit, number in found.groupdict().items() if number))
