"""The transcripts of an evaluation: how wide a protocol's beam is, and what is kept of every utterance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, Trainer

from dltk.errors import LaunchError
from dltk.run.atomic import replace_file
from dltk.run.protocol import Protocol
from dltk.tasks.transcription import Transcribed, Transcription


def width_of(protocol: Protocol) -> int:
    """The width of the beam by which a protocol transcribes; 1 of what is likeliest at each moment.

    Raises:
        LaunchError: the protocol is none of transcripts, or names no width.
    """
    if protocol.kind == "greedy" and not protocol.scales:
        return 1
    if protocol.kind == "beam" and len(protocol.scales) == 1 and protocol.scales[0] > 0:
        return protocol.scales[0]
    what = f"{protocol} names no way to transcribe"
    raise LaunchError("", "--protocol", what, "Write greedy, or beam with a width such as beam=100.")


class Transcripts(Callback):
    """The transcripts of every utterance evaluated; the task has gathered them."""

    suffix = ".jsonl"

    def __init__(self) -> None:
        self._task: Transcription | None = None

    def on_test_end(self, trainer: Trainer, task: Transcription) -> None:
        """Remember whose they are."""
        self._task = task

    def gathered(self, world: int) -> dict[str, np.ndarray]:
        """Of all processes, sorted by key: `keys`, `hypotheses` and `references` (n,), text; `exact` (n,), bool."""
        assert self._task is not None, "nothing was evaluated"
        columns = zip(*self._task.transcribed, strict=True)
        names = ("keys", "hypotheses", "references", "exact")
        return {name: np.array(column) for name, column in zip(names, columns, strict=True)}

    def save(self, path: Path, samples: dict[str, np.ndarray]) -> None:
        """One JSON object a line for each utterance, with these names in the singular."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = zip(*(column.tolist() for column in samples.values()), strict=True)
        lines = (json.dumps(dict(zip(Transcribed._fields, row, strict=True)), ensure_ascii=False) for row in rows)
        replace_file(path, "".join(f"{line}\n" for line in lines))

    def about(self) -> dict[str, Any]:
        """What an answer says beside the metrics: nothing more."""
        return {}
