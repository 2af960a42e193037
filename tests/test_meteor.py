"""METEOR: what is asked of its program, and what is said where that is missing or fails."""

import stat
from pathlib import Path

import pytest

from dltk import meteor
from dltk.meteor import lacks, meteor_scores

# In place of Java: of each caption it counts the words, and adds the counts up.
COUNTING = r"""#!/usr/bin/env python3
import sys
for line in sys.stdin:
    what, *parts = [part.strip() for part in line.rstrip("\n").split("|||")]
    if what == "SCORE":
        print(len(parts), len(parts[-1].split()), flush=True)
    else:
        counts = [int(part.split()[1]) for part in parts]
        print(*[0.5 for _ in counts], sum(counts) / 100, sep="\n", flush=True)
"""
OURS, THEIRS = ["A dog, runs!", "two cats"], [["a dog runs", "it runs"], ["two cats sleep"]]


def java(place: Path, script: str) -> None:
    path = place / "java"
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_program_hears_each_caption_and_then_all_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    java(tmp_path, COUNTING)
    scores, signatures = meteor_scores(OURS, THEIRS)
    assert scores == {"meteor": pytest.approx(5.0)}
    assert set(signatures) == {"meteor"}


def test_what_is_missing_or_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    java(tmp_path, "#!/bin/sh\nread line\necho 'Could not reserve enough space' >&2\n")
    with pytest.raises(ChildProcessError, match="Could not reserve enough space"):
        meteor_scores(OURS, THEIRS)
    (tmp_path / "java").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lacks() == "there is no `java` on the PATH"
    with pytest.raises(ChildProcessError, match="there is no `java` on the PATH"):
        meteor_scores(OURS, THEIRS)
    monkeypatch.setattr(meteor, "JAR", "none.jar")
    assert lacks() == "pycocoevalcap is not installed"


@pytest.mark.cluster
def test_the_real_program_knows_the_same_and_the_similar() -> None:
    assert not lacks(), lacks()
    same = meteor_scores(["a dog runs on grass", "two cats sleep"], [["a dog runs on grass"], ["two cats sleep", "b"]])
    similar = meteor_scores(["dogs run on the grass", "cats"], [["a dog runs on grass"], ["two cats sleep", "b"]])
    other = meteor_scores(["nothing of it", ""], [["a dog runs on grass"], ["two cats sleep", "b"]])
    scores = [found["meteor"] for found, _ in (same, similar, other)]
    assert scores[0] == pytest.approx(100)
    assert scores[0] > scores[1] > scores[2] >= 0
