"""Given translations scored by a run's network, or by several together, as they come: another system's n-best list."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dltk.cli import terminal
from dltk.cli.data.progress import bar
from dltk.cli.lines import CHUNK, LONGEST, Wanted, chunks, loaded, opened
from dltk.cli.unknown import Large
from dltk.errors import DataError, LaunchError

if TYPE_CHECKING:
    from torch import Tensor

    from dltk.tasks.translation import Pair, Translation

FORM = "Write SOURCE<TAB>TARGET, one pair a line."


class Line(NamedTuple):
    """One line of the input, and where it stands."""

    place: str
    raw: bytes


class Given(NamedTuple):
    """One pair: its texts, and their tokens without the end."""

    source: str
    target: str
    read: list[int]
    written: list[int]


@dataclass
class Counts:
    """What became of the pairs."""

    pairs: int = 0
    words: int = 0  # tokens of the targets, their ends counted
    unknown: int = 0  # of both sides

    def told(self, seconds: float) -> str:
        """One line of all that."""
        rate = self.words / max(seconds, 1e-9)
        unknown = f"; {self.unknown:,} tokens are not in the vocabulary" if self.unknown else ""
        return f"{self.pairs:,} pairs, {self.words:,} target tokens, {rate:,.0f} a second{unknown}"


def score_pairs(files: Sequence[Path], wanted: Wanted) -> None:
    """Append to each line SOURCE<TAB>TARGET the log-probability of the target, given the source.

    It is that of the target's words and its end, divided by a power of their number where the recipe or `--normalise`
    says so: what a beam gives for the same sentence.

    Raises:
        LaunchError: a run does not translate, those of an ensemble have other vocabularies, or a beam is asked for.
        DataError: a file cannot be read, or a line is no pair that the network could read.
    """
    if (wanted.beam, wanted.n_best) != (1, 1):
        what = "given translations are scored, no beam looks for others"
        raise LaunchError("", "--score", what, "Leave --beam and --n-best out.")
    if wanted.large != Large():
        what = "given translations are scored, by all words as they stand"
        raise LaunchError("", "--score", what, "Leave --candidates, --dictionary and --replace-unknown out.")
    with terminal.only_json(wanted.as_json):
        tasks = loaded(wanted)
    counts, began = Counts(), time.monotonic()
    with ExitStack() as stack:
        sources = [(str(path), opened(path, stack)) for path in files] or [("standard input", sys.stdin.buffer)]
        size = 1 if not files and sys.stdin.isatty() else CHUNK
        tell = stack.enter_context(bar("pairs", quiet=sys.stdout.isatty()))  # the scores themselves are seen there
        for chunk in chunks(_lines(sources), size):
            _write(tasks, chunk, counts, as_json=wanted.as_json)
            tell(counts.pairs)
    terminal.note(counts.told(time.monotonic() - began))


def _lines(sources: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[Line]:
    for name, lines in sources:
        for number, raw in enumerate(lines, 1):
            yield Line(f"{name}:{number}", raw)


def _write(tasks: "list[Translation]", chunk: list[Line], counts: Counts, *, as_json: bool) -> None:
    """Score and print some lines; where one of them is bad, those before it all the same."""
    pair = tasks[0].required_vocabularies()
    given: list[Given] = []
    mistake = None
    for line in chunk:
        try:
            given.append(_read(line, pair))
        except DataError as error:
            mistake = error
            break
    for one, score in zip(given, _scores(tasks, given), strict=True):
        counts.pairs += 1
        counts.words += len(one.written) + 1
        counts.unknown += _unknown(one)
        if as_json:
            answer = {"line": counts.pairs, "source": one.source, "target": one.target, "score": score}
            sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        else:
            sys.stdout.write(f"{one.source}\t{one.target}\t{score:.4f}\n")
    sys.stdout.flush()
    if mistake is not None:
        raise mistake


def _read(line: Line, pair: "Pair") -> Given:
    """The pair of a line.

    Raises:
        DataError: it is none, or longer than the network is given.
    """
    try:
        text = line.raw.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        what = f"byte {error.start + 1} is not UTF-8"
        raise DataError(line.place, "", what, "Convert the file with iconv.") from None
    sides = text.split("\t")
    if len(sides) != 2:
        what = f"{len(sides) - 1} tabs, where one parts source and target"
        raise DataError(line.place, "", what, FORM)
    source, target = sides
    read, written = pair.source.encode(source.strip()), pair.target.encode(target.strip())
    if not read:
        raise DataError(line.place, "", "there is no source before the tab", FORM)
    if max(len(read), len(written)) > LONGEST:
        what = f"{max(len(read), len(written)):,} tokens, of which {LONGEST:,} can be read"
        raise DataError(line.place, "", what, "Split the pair, or leave it out.")
    return Given(source, target, read, written)


def _unknown(one: Given) -> int:
    from dltk.layers.tokens import UNK

    return one.read.count(UNK) + one.written.count(UNK)


def _scores(tasks: "list[Translation]", given: Sequence[Given]) -> list[float]:
    if not given:
        return []
    source, target = (_padded(rows) for rows in ([one.read for one in given], [one.written for one in given]))
    task = tasks[0]
    return task.score(source.to(task.device), target.to(task.device), tasks[1:])


def _padded(rows: Sequence[Sequence[int]]) -> "Tensor":
    """Tokens without the end to tokens with it, all as long as the longest (b, t)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from dltk.layers.tokens import EOS

    return pad_sequence([torch.tensor([*row, EOS]) for row in rows], batch_first=True)
