"""The translations or captions of an evaluation: which protocol, and the sentences that it keeps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, Trainer

from dltk.bleu import bleu_by_length, moses_tokenised
from dltk.errors import LaunchError
from dltk.run.atomic import replace_file
from dltk.run.protocol import GREEDY, SINGLE_CROP, TRANSLATIONS, Protocol
from dltk.tasks.captioning import Captioned
from dltk.tasks.decoding import Decoding
from dltk.tasks.writing import Writing

WIDTHS = {"greedy": (0,), "beam": (1,), "multibleu_tok": (0, 1)}  # how many a protocol names
ONE = {
    **{"keys": "key", "hypotheses": "hypothesis", "references": "reference"},
    **{"exact": "exact", "source_tokens": "source_tokens", "true": "true"},
}
TEMPERATURES = (0.01, 100)  # of a sample; still colder ones are greedy


def decoding_of(task: Writing, protocol: Protocol, n_best: int = 1) -> Decoding:
    """How a task translates or describes under a protocol; ranked as its recipe says.

    Raises:
        LaunchError: the protocol is of pictures, or names no width or no temperature.
    """
    if protocol.kind not in TRANSLATIONS:
        what = f"{protocol.kind} is of classes of pictures, and this is a {task.kind}"
        raise LaunchError("", "--protocol", what, "Choose greedy, or beam with a width such as beam=12.")
    if protocol.kind == "multibleu_tok" and task.kind != "translation":
        what = f"{protocol.kind} is of translations, and this is a {task.kind}, whose BLEU is the papers' own"
        raise LaunchError("", "--protocol", what, "Choose greedy, or beam with a width such as beam=20.")
    if protocol.kind == "sample":
        low, high = TEMPERATURES
        if protocol.scales or not low <= protocol.temperature <= high:
            what = f"{protocol} names no temperature from {low} to {high}"
            raise LaunchError("", "--protocol", what, "Write sample=0.8, or sample=0.8,3 for the seed 3.")
        return replace(task.decoding, temperature=protocol.temperature, seed=protocol.seed, n_best=n_best)
    if len(protocol.scales) not in WIDTHS[protocol.kind] or 0 in protocol.scales:
        what = f"{protocol} does not name the width of one beam"
        raise LaunchError("", "--protocol", what, "Write greedy, or beam=12.")
    width = protocol.scales[0] if protocol.scales else 1
    return replace(task.decoding, width=width, n_best=n_best)


def moses_of(part: Any, protocol: Protocol) -> str | None:
    """The language by whose rules a protocol's BLEU splits the references of a data set; None: as sacrebleu does.

    English where the data set does not say.

    Raises:
        DataError: sacremoses is needed, and not installed.
    """
    if protocol.kind != "multibleu_tok":
        return None
    language = str((getattr(part, "languages", None) or ("en", "en"))[1])
    moses_tokenised([], language)
    return language


def own_protocol(protocol: Protocol) -> Protocol:
    """The protocol of a translation where none was asked for; what was asked for otherwise."""
    return GREEDY if protocol == SINGLE_CROP else protocol


class Sentences(Callback):
    """The translations of every sentence evaluated; the task has gathered them."""

    suffix = ".jsonl"

    def __init__(self) -> None:
        self._task: Any = None

    def on_test_end(self, trainer: Trainer, task: Writing) -> None:
        """Remember whose they are."""
        self._task = task

    def gathered(self, world: int) -> dict[str, np.ndarray]:
        """Of all processes, sorted by key.

        `keys`, `hypotheses` and `references` (n,), text; `exact` (n,), bool; `source_tokens` (n,), int.
        """
        assert self._task is not None, "nothing was evaluated"
        columns = zip(*self._task.written, strict=True)
        names = ("keys", "hypotheses", "references", "exact", "source_tokens")
        return {name: np.array(column) for name, column in zip(names, columns, strict=True)}

    def save(self, path: Path, samples: dict[str, np.ndarray]) -> None:
        """One JSON object a line for each sentence, with these names in the singular."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = [ONE[name] for name in samples]
        rows = zip(*(column.tolist() for column in samples.values()), strict=True)
        lines = (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows)
        replace_file(path, "".join(f"{line}\n" for line in lines))

    def about(self) -> dict[str, Any]:
        """How BLEU and chrF were computed, and BLEU of short and of long sentences."""
        if self._task is None:
            return {"signatures": {}, "by_length": []}
        done = self._task.written
        rows = bleu_by_length(
            [one.source_tokens for one in done],
            [one.hypothesis for one in done],
            [one.reference for one in done],
            [one.exact for one in done],
            self._task.moses,
        )
        return {"signatures": self._task.signatures, "by_length": rows}


class Captions(Sentences):
    """The captions of every picture evaluated."""

    def gathered(self, world: int) -> dict[str, np.ndarray]:
        """Of all processes, sorted by key.

        `keys`, `hypotheses` and `references` (n,), text, several references with ` | ` between; `exact` (n,), bool;
        `true` (n,), bool, or None where the data cannot judge.
        """
        assert self._task is not None, "nothing was evaluated"
        done: list[Captioned] = self._task.written
        return {
            "keys": np.array([one.key for one in done]),
            "hypotheses": np.array([one.hypothesis for one in done]),
            "references": np.array([" | ".join(one.references) for one in done]),
            "exact": np.array([one.exact for one in done]),
            "true": np.array([one.verdict.true if one.verdict else None for one in done], dtype=object),
        }

    def about(self) -> dict[str, Any]:
        """How BLEU was computed."""
        return {"signatures": self._task.signatures if self._task else {}}
