"""`metrics.jsonl`: one object a log, each step once, after any number of restarts."""

from pathlib import Path
from typing import Any

from dltk.run.atomic import Lines, from_json, replace_file, to_json

_DAMAGED_TEXT = 2000  # characters of an unreadable line that are kept


class MetricsLog:
    """The metrics of a run as lines of JSON with `step`, `epoch`, `samples`, `time` and the metrics by name.

    Args:
        path: the file; the lines of steps that were lost stand beside it in `metrics.lost.jsonl`.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.lost_path = self.path.with_suffix(".lost.jsonl")
        self._lines = Lines(self.path)
        self._latest: tuple[int, dict[str, Any]] | None = None  # offset (bytes) and object of the last line
        self._known = False

    def append(self, *, step: int, epoch: int, samples: int, time: float, **metrics: Any) -> None:
        """Writes one line, or adds to the last one where that is the same step's (training and validation meet there).

        Args:
            step: optimiser steps done so far; never smaller than the last line's.
            epoch: epoch in which the step lies, from 0.
            samples: training samples consumed in the whole run so far.
            time: when (seconds since 1970).
            **metrics: numbers by name, e.g. `train/loss`.
        """
        if not self._known:
            self._latest, self._known = self._lines.last(), True
        line: dict[str, Any] = {"step": int(step), "epoch": int(epoch), "samples": int(samples), "time": round(time, 6)}
        line |= metrics
        last_step = self._latest[1].get("step") if self._latest else None
        if self._latest and last_step == line["step"]:
            start, line = self._latest[0], self._latest[1] | line
            self._lines.rewrite_last(start, to_json(line))
        else:
            assert last_step is None or line["step"] > last_step, (
                f"metrics of step {step} after those of step {last_step}: rewind the log to the checkpoint first"
            )
            start = self._lines.append(to_json(line))
        self._latest = (start, line)

    def rewind(self, step: int) -> int:
        """Moves the lines of later steps, and damaged ones, to `metrics.lost.jsonl`; returns how many were moved.

        A kill at any moment leaves each line in at least one of the two files, and repeating it moves nothing twice.
        """
        kept: list[bytes] = []
        lost: list[str] = []
        last_kept = -1
        for text in self._lines.texts():
            line = from_json(text)
            number = line.get("step") if line else None
            if isinstance(number, int) and last_kept < number <= step:
                kept.append(text)
                last_kept = number
            elif isinstance(number, int):
                lost.append(text.decode())
            else:
                lost.append(to_json({"damaged": text[:_DAMAGED_TEXT].decode(errors="replace")}))
        if lost:
            self._keep_lost(lost)
            replace_file(self.path, b"".join(text + b"\n" for text in kept))
        self._known = False
        return len(lost)

    def _keep_lost(self, texts: list[str]) -> None:
        # Lines carry their time, so equal text means the same line, left by a rewind that was killed.
        file = Lines(self.lost_path)
        there = set(file.texts())
        for text in texts:
            if text.encode() not in there:
                file.append(text)

    def read(self) -> list[dict[str, Any]]:
        """Every whole line, in the order of writing."""
        return list(self._lines.objects())

    def last(self) -> dict[str, Any] | None:
        """The last whole line, read from the file's end, or None."""
        found = self._lines.last()
        return found[1] if found else None
