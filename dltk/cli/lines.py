"""Lines of text translated by a run's network, or by several together, as they come."""

import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dltk.cli import terminal
from dltk.cli.runs import find_run
from dltk.cli.unknown import Large, Unknown
from dltk.errors import DataError, LaunchError

if TYPE_CHECKING:
    from dltk.run.protocol import Protocol
    from dltk.tasks.decoding import Hypothesis
    from dltk.tasks.translation import Translation

T = TypeVar("T")

CHUNK = 64  # lines translated together
LONGEST = 1000  # tokens of a line; the rest is cut off, and counted


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Args:
        runs: folders or names; several are an ensemble.
        checkpoint: which weights.
        beam: its width, where no protocol is named.
        n_best: translations of each line.
        normalise: power of the length by which log-probabilities are divided; None: as the recipe says.
        as_json: an object for each line instead of text.
        large: what is asked for of a large vocabulary.
        protocol: how lines are translated, such as sample=0.8.
    """

    runs: Sequence[str]
    checkpoint: str = "best"
    beam: int = 1
    n_best: int = 1
    normalise: float | None = None
    as_json: bool = False
    large: Large = field(default_factory=Large)
    protocol: str | None = None


@dataclass
class Counts:
    """What became of the lines."""

    lines: int = 0
    words: int = 0  # tokens written
    cut: int = 0
    not_utf8: int = 0

    def told(self, seconds: float) -> str:
        """One line of all that."""
        parts = [f"{self.lines:,} lines, {self.words:,} tokens, {self.words / max(seconds, 1e-9):,.0f} a second"]
        parts += [f"{self.cut:,} cut off after {LONGEST:,} tokens"] if self.cut else []
        parts += [f"{self.not_utf8:,} not in UTF-8, what is wrong in them replaced"] if self.not_utf8 else []
        return "; ".join(parts)


def translate(files: Sequence[Path], wanted: Wanted) -> None:
    """Translate the lines of files, or of standard input, to standard output; an empty line stays one.

    Raises:
        LaunchError: a run is none of a translator, or those of an ensemble have other vocabularies.
        DataError: a file cannot be read.
    """
    protocol_of(wanted)
    with terminal.only_json(wanted.as_json):
        tasks = loaded(wanted)
        unknown = Unknown.of(tasks, wanted.large)
    counts, began = Counts(), time.monotonic()
    with ExitStack() as stack:
        lines = itertools.chain.from_iterable([opened(path, stack) for path in files] or [sys.stdin.buffer])
        size = 1 if not files and sys.stdin.isatty() else CHUNK
        for chunk in chunks(lines, size):
            for answer in _answers(tasks, chunk, counts, unknown):
                sys.stdout.write(_shown(answer, wanted))
            sys.stdout.flush()
    terminal.note(counts.told(time.monotonic() - began))


def protocol_of(wanted: Wanted) -> "Protocol":
    """How lines are translated.

    Raises:
        LaunchError: there is no such protocol, two are given, or it finds fewer translations than are asked for.
    """
    from dltk.run.protocol import GREEDY, Protocol

    name, n_best = wanted.protocol, wanted.n_best
    if name is not None and wanted.beam > 1:
        raise LaunchError("", "--beam", f"{wanted.beam} beside --protocol {name}", "Leave one of them out.")
    found = GREEDY if wanted.beam == 1 else Protocol("beam", (wanted.beam,))
    if name is not None:
        found = Protocol.named(name)
    width = found.scales[0] if found.scales else 1
    if n_best > width and found.kind != "sample":
        remedy = f"Set {'--beam to' if name is None else 'a beam of'} at least {n_best}."
        raise LaunchError("", "--n-best", f"{n_best} of a beam of {width}", remedy)
    return found


def loaded(wanted: Wanted) -> "list[Translation]":
    """The runs' tasks, ready to translate."""
    import torch

    from dltk.assemble import load
    from dltk.launch.translations import decoding_of
    from dltk.tasks.translation import Translation

    tasks: list[Translation] = []
    for name in wanted.runs:
        folder = find_run(name)
        task = load(folder, wanted.checkpoint)
        if not isinstance(task, Translation):
            raise LaunchError(folder.path, "", f"{type(task).__name__} does not translate", "Give a run that does.")
        pair = task.required_vocabularies()
        if tasks and pair.hash != tasks[0].required_vocabularies().hash:
            raise LaunchError(folder.path, "--with", "has other vocabularies", f"Give runs like {wanted.runs[0]}.")
        tasks.append(task.to("cuda" if torch.cuda.is_available() else "cpu"))
    first = tasks[0]
    if wanted.normalise is not None:
        from dataclasses import replace

        first.decoding = replace(first.decoding, normalise=wanted.normalise)
    first.decoding = decoding_of(first, protocol_of(wanted), wanted.n_best)
    return tasks


def opened(path: Path, stack: ExitStack) -> Iterable[bytes]:
    """The lines of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return stack.enter_context(path.open("rb"))
    except OSError as error:
        raise DataError(path, "", f"cannot be read ({error.strerror})", "Give a file of text.") from None


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items, so many at a time."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _answers(
    tasks: "list[Translation]", chunk: list[bytes], counts: Counts, unknown: Unknown | None
) -> Iterator[dict[str, Any]]:
    """For each line its number, text, and best translations with their scores."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from dltk.layers.tokens import EOS

    task = tasks[0]
    vocabularies = task.required_vocabularies()
    texts = [_decoded(line, counts) for line in chunk]
    rows = [_cut(vocabularies.source.encode(text), counts) for text in texts]
    full = [at for at, row in enumerate(rows) if row]
    found: dict[int, list[Hypothesis]] = {}
    if full:
        source = pad_sequence([torch.tensor([*rows[at], EOS]) for at in full], batch_first=True)  # (b, s)
        found = dict(zip(full, task.translate(source.to(task.device), tasks[1:]), strict=True))
    for at, text in enumerate(texts):
        counts.lines += 1
        counts.words += sum(len(one.tokens) for one in found.get(at, [])[:1])
        best = found.get(at, [])
        decoded = [vocabularies.target.decode(one.tokens) for one in best]
        if unknown is not None:
            decoded = unknown.replaced(text, rows[at], [one.tokens for one in best])
        yield {
            "line": counts.lines,
            "source": text,
            "translations": [
                {"text": words, "score": one.score, "finished": one.finished}
                for words, one in zip(decoded, best, strict=True)
            ],
        }


def _decoded(line: bytes, counts: Counts) -> str:
    try:
        return line.decode().strip()
    except UnicodeDecodeError:
        counts.not_utf8 += 1
        return line.decode(errors="replace").strip()


def _cut(row: list[int], counts: Counts) -> list[int]:
    counts.cut += len(row) > LONGEST
    return row[:LONGEST]


def _shown(answer: dict[str, Any], wanted: Wanted) -> str:
    """A line of the output; of several translations one each, with the line's number and the score between |||."""
    if wanted.as_json:
        return json.dumps(answer, ensure_ascii=False) + "\n"
    best = answer["translations"]
    if wanted.n_best > 1 and best:
        return "".join(f"{answer['line']} ||| {one['text']} ||| {one['score']:.4f}\n" for one in best)
    return (best[0]["text"] if best else "") + "\n"
