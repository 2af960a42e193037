"""`ledger.jsonl`: what happened to a run, one start and one end for each attempt."""

import calendar
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dltk.run.atomic import Lines, to_json


def clock_text(seconds: float) -> str:
    """A moment (seconds since 1970) as `2026-11-22T22:28:07Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def clock_seconds(moment: object) -> float | None:
    """A moment that `clock_text` wrote as seconds since 1970; None where it is none."""
    try:
        return float(calendar.timegm(time.strptime(str(moment), "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return None


def lost_hours(attempts: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Device-hours of each attempt whose work the next one did again; None where that is not known (yet).

    The next attempt begins from a checkpoint. What came after its step, by the times of the metrics' lines, was lost;
    an attempt from which nothing was kept was lost from its start.

    Args:
        attempts: as `Ledger.attempts` gives them.
        lines: of the metrics, each with `step` and `time`.
    """
    found: list[float | None] = []
    for one, following in zip(attempts, [*attempts[1:], None], strict=False):
        start, end, world = clock_seconds(one["start"]), clock_seconds(one["end"]), one.get("world_size")
        kept = None if following is None else following["first_step"]
        if start is None or end is None or not isinstance(kept, int) or not isinstance(world, int):
            found.append(None)
            continue
        if isinstance(one["step"], int) and one["step"] <= kept:
            found.append(0.0)  # it saved as it left
            continue
        times = [line["time"] for line in lines if line["step"] <= kept and start <= line["time"] <= end]
        found.append((end - max(times, default=start)) * world / 3600)
    return found


class Ledger:
    """The attempts of a run. Append-only; only the holder of the run's lease writes.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._lines = Lines(Path(path))
        self.last_heartbeat: float | None = None  # of a holder that died, told by the lease that took its place

    def begin(self, info: dict[str, Any]) -> int:
        """Writes the start of an attempt and returns its number, from 1.

        An earlier attempt that left no end (kill -9, power) gets one first.

        Args:
            info: what is worth knowing about it: host, world size, step it starts from (`step`), Slurm id …
        """
        attempts = self.attempts()
        if attempts and attempts[-1]["end"] is None:
            seen = self.last_heartbeat or self._last_written()
            reason = f"unknown, last heartbeat {clock_text(seen)}" if seen else "unknown"
            self.end(attempts[-1]["attempt"], reason, None, None, at=seen)
        number = attempts[-1]["attempt"] + 1 if attempts else 1
        self._write({"attempt": number, "event": "start", "time": clock_text(time.time()), **info})
        return number

    def end(self, attempt: int, reason: str, exit_code: int | None, step: int | None, at: float | None = None) -> None:
        """Writes the end of an attempt.

        Args:
            attempt: its number.
            reason: in words: done, preempted (SIGTERM), NaN at step 7, …
            exit_code: of its process, None when unknown.
            step: optimiser steps the run has then, None when unknown.
            at: when it ended (seconds since 1970); now, unless given.
        """
        moment = clock_text(at if at is not None else time.time())
        self._write(
            {"attempt": attempt, "event": "end", "time": moment, "reason": reason, "exit_code": exit_code, "step": step}
        )

    def note(self, attempt: int, text: str) -> None:
        """Writes a remark about an attempt: a setting that changed, a damaged checkpoint that was skipped."""
        self._write({"attempt": attempt, "event": "note", "time": clock_text(time.time()), "note": text})

    def attempts(self) -> list[dict[str, Any]]:
        """One object an attempt.

        Holds `attempt`, `start`, `end` (None while it runs), `reason`, `exit_code`, `step`, `steps` (gained, None when
        unknown), `notes` and what `begin` was given.
        """
        folded: dict[int, dict[str, Any]] = {}
        for line in self._lines.objects():
            number, event = line.pop("attempt", None), line.pop("event", None)
            if not isinstance(number, int) or event not in ("start", "end", "note"):
                continue
            moment = line.pop("time", None)
            known = folded.setdefault(number, _empty(number))
            if event == "start":
                known |= {"start": moment, "first_step": line.pop("step", None), **line}
            elif event == "note":
                known["notes"].append(line.get("note"))
            else:
                known |= {**line, "end": moment}
                first, last = known.get("first_step"), line.get("step")
                known["steps"] = last - first if isinstance(first, int) and isinstance(last, int) else None
        return [folded[number] for number in sorted(folded)]

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.append(to_json(line))

    def _last_written(self) -> float | None:
        times = []
        for name in ("metrics.jsonl", "ledger.jsonl"):
            path = self._lines.path.with_name(name)
            if path.exists():
                times.append(path.stat().st_mtime)
        return max(times, default=None)


def _empty(number: int) -> dict[str, Any]:
    return {
        "attempt": number, "start": None, "end": None, "reason": None, "exit_code": None, "step": None,
        "first_step": None, "steps": None, "notes": [],
    }  # fmt: skip
