"""METEOR of captions, by its authors' program, which pycocoevalcap brings and Java runs.

Denkowski, Lavie, "Meteor universal: language specific translation evaluation for any target language", WMT (2014):
version 1.5, English, with the parameters and the normalisation by which captions are compared.
"""

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from dltk.bleu import plain_words

JAR = "meteor-1.5.jar"
MEMORY = "2G"  # of Java; its table of paraphrases is large


def lacks() -> str:
    """What METEOR would need and is not here, in words; empty where all is."""
    if _folder() is None:
        return "pycocoevalcap is not installed"
    return "" if shutil.which("java") else "there is no `java` on the PATH"


def meteor_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], dict[str, str]]:
    """METEOR of captions, each of several references; words are those of `dltk.bleu.caption_scores`.

    Args:
        hypotheses: captions.
        references: those of people, of each.

    Returns:
        `meteor`, from 0 to 100, of the whole part; and its signature.

    Raises:
        OSError: something is lacking, or the program fails; the message says what.
    """
    folder, java = _folder(), shutil.which("java")
    if folder is None or java is None:
        raise ChildProcessError(lacks())
    command = [java, "-jar", f"-Xmx{MEMORY}", JAR, "-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile("w+") as errors:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        program = subprocess.Popen(command, cwd=folder, text=True, encoding="utf-8", **pipes)
        try:
            score = _asked(program, hypotheses, references)
        except (OSError, ValueError):
            program.kill()
            program.communicate()
            errors.seek(0)
            raise ChildProcessError(_last(errors)) from None
        finally:
            program.kill()
            program.communicate()  # closes what a program that ended by itself has left
    return {"meteor": 100.0 * score}, {
        "meteor": f"meteor 1.5, pycocoevalcap {version('pycocoevalcap')}|en, norm|words:small,no marks"
    }


def _asked(program: "subprocess.Popen[str]", hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The score of a part: the program counts each caption's matches, and then makes one number of all counts."""
    assert program.stdin is not None
    assert program.stdout is not None
    counts = []
    for ours, theirs in zip(hypotheses, references, strict=True):
        program.stdin.write(" ||| ".join(["SCORE", *map(plain_words, theirs), plain_words(ours)]) + "\n")
        program.stdin.flush()
        counts.append(program.stdout.readline().strip())
    program.stdin.write(" ||| ".join(["EVAL", *counts]) + "\n")
    program.stdin.flush()
    each = [float(program.stdout.readline()) for _ in counts]
    score = float(program.stdout.readline())
    assert len(each) == len(counts)
    return score


def _folder() -> Path | None:
    """Where the program lies; None where it is not installed."""
    package = importlib.util.find_spec("pycocoevalcap")
    place = None if package is None else next(iter(package.submodule_search_locations or []), None)
    folder = None if place is None else Path(place, "meteor")
    return folder if folder is not None and (folder / JAR).is_file() else None


def _last(errors: IO[str]) -> str:
    """The last line that the program has said of its failure."""
    lines = [line.strip() for line in errors.read().splitlines() if line.strip()]
    return lines[-1] if lines else "the program has ended and said nothing"
