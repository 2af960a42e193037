"""What machines do: die while saving, damage files, fill their disk, compute NaN. A clear line, nothing lost."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dltk.errors import LaunchError
from dltk.launch import here
from dltk.run.folder import RunFolder
from tests.commands import Command
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines


def remarks(command: Command) -> list[str]:
    """Lines on stderr, without those of progress."""
    return [line for line in command.err.splitlines() if line and not line.startswith("step ")]


def test_killed_while_saving_and_damaged_afterwards(workshop: Workshop, reference: Path) -> None:
    marks, run = workshop.marks("saving"), workshop.run("saving")
    moments = {
        14: "with half of the state written",
        28: "with the state written",
        49: "before it is published",
        63: "between publication and LATEST",
    }
    faults = [
        f"{{name: 'faults:KillWhileSaving', step: {s}, moment: '{m}', marks: '{marks}'}}" for s, m in moments.items()
    ]
    faults.append(f"{{name: 'faults:KillAt', steps: [76, 97], marks: '{marks}', saved: true}}")
    arguments = ["train", "small.yaml", "run=saving", f"train.callbacks=[{', '.join(faults)}]"]
    for _ in moments:
        workshop.dltk(*arguments, expect=-9)
    checkpoints = run / "checkpoints"
    assert [path.name for path in checkpoints.glob(".writing-*")] == [], "swept by the save after"
    published = max(checkpoints.glob("step-*"))
    assert published.name == "step-00000063"
    assert (checkpoints / "LATEST").read_text() != "step-00000063\n"

    said = workshop.dltk(*arguments, expect=-9)
    assert "from step 63" in said.out, "published before the kill: nothing lost"
    damages = {"step-00000070": truncate, "step-00000091": flip_a_bit}
    for name, damage in damages.items():
        damage(checkpoints / name / "state.pt")
        for later in [path for path in checkpoints.glob("step-*") if path.name > name]:
            shutil.rmtree(later)
        said = workshop.dltk(*arguments, expect=None)
        named = [line for line in remarks(said) if "damaged checkpoint skipped" in line]
        assert len(named) == 1
        assert f"checkpoints/{name}: damaged checkpoint skipped: state.pt " in named[0]
        assert named[0].endswith("It is left as it is.")
        assert (checkpoints / f"damaged-{name}-1").is_dir(), "set aside, where a sound one took its name"

    assert_equal_to_the_bit(final_state(run), final_state(reference))
    for metric in ("train/loss", "val/top1_error", "data/digest"):
        assert curve(run, metric) == curve(reference, metric)
    steps = [line["step"] for line in lines(run)]
    assert steps == sorted(set(steps))
    lost = [json.loads(line)["step"] for line in (run / "metrics.lost.jsonl").read_text().splitlines()]
    assert 75 in lost
    attempts = RunFolder.open(run).ledger.attempts()
    assert [a["exit_code"] for a in attempts] == [None] * 6 + [0]
    assert all(a["reason"].startswith("unknown, last heartbeat 2") for a in attempts[:-1])
    assert attempts[-1]["reason"] == "done"
    assert "damaged checkpoint skipped" in attempts[-1]["notes"][0]


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system that is soon full."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        reason = f"a full disk needs a small tmpfs, and `mount` says: {mounted.stderr.strip()}. Run the tests as root."
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk(workshop: Workshop, reference: Path) -> None:
    with small_disk(workshop.folder / "disk", "8m") as disk:
        filler = disk / "filler"
        arguments = ["train", "small.yaml", f"runs_dir={disk}", "run=full"]
        arguments.append(f"train.callbacks=[{{name: 'faults:FillDisk', step: 11, file: '{filler}'}}]")
        said = workshop.dltk(*arguments, expect=2)  # the checkpoint of step 14 finds no room, after that of step 7
        assert remarks(said)[-1] == (
            f"{disk}/small/full/checkpoints: no room for a checkpoint: it takes 1.1 MB, 0.0 MB are free. "
            "Free some space and start the same command again: the run goes on."
        )
        assert "Traceback" not in said.err
        run = disk / "small" / "full"
        assert RunFolder.open(run).status in ("crashed", "lost")
        said = workshop.dltk("train", str(run), expect=2)  # still full
        assert "no space left on the disk. Free some space" in remarks(said)[-1]
        assert "Traceback" not in said.err
        filler.unlink()
        # From here on the disk fills again at step 11, unless the run goes on from behind it.
        frozen = run / "recipe.yaml"
        frozen.write_text(frozen.read_text().replace("step: 11", "step: 1"))
        assert "from step 7" in workshop.dltk("train", str(run)).out
        assert_equal_to_the_bit(final_state(run), final_state(reference))
        assert curve(run, "train/loss") == curve(reference, "train/loss")


def test_folders_that_refuse(workshop: Workshop) -> None:
    (workshop.folder / "a-file").touch()
    file = workshop.folder / "a-file"
    with pytest.raises(LaunchError) as caught:
        here.open_run([workshop.folder / "small.yaml", f"runs_dir={file}"])
    assert str(caught.value) == (
        f"{file}/small: cannot make the run folder: not a directory. Look at the folder and its disk."
    )
    with contextlib.ExitStack() as stack:
        if os.getuid():
            locked = workshop.folder / "locked"
            locked.mkdir()
            locked.chmod(0o555)
        else:  # root may write everywhere, but not on a disk that nobody may write on
            locked = stack.enter_context(small_disk(workshop.folder / "locked", "1m"))
            subprocess.run(["mount", "-o", "remount,ro", locked], check=True)
        said = workshop.dltk("train", "small.yaml", "runs_dir=locked", expect=2)
    assert remarks(said) == [
        "locked/small: cannot make the run folder: the folder is not writable. "
        "Mend its permissions, or choose another place with runs_dir=DIR."
    ]


def test_a_run_whose_disk_became_read_only_goes_on_when_it_may_be_written_again(
    workshop: Workshop, reference: Path
) -> None:
    with small_disk(workshop.folder / "frozen", "16m") as disk:
        fault = f"{{name: 'faults:KillAt', steps: [10], marks: '{workshop.marks('frozen')}', saved: true}}"
        workshop.dltk("train", "small.yaml", f"runs_dir={disk}", "run=r", f"train.callbacks=[{fault}]", expect=-9)
        run = disk / "small" / "r"
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        said = workshop.dltk("train", str(run), expect=2)
        (line,) = remarks(said)
        assert line.startswith(str(run))
        assert "Read-only file system" in line or "not writable" in line
        assert "Traceback" not in said.err
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert "from step 7" in workshop.dltk("train", str(run)).out
        assert_equal_to_the_bit(final_state(run), final_state(reference))


def test_a_second_training_of_a_run_is_refused(workshop: Workshop) -> None:
    first = workshop.slow("held", "train 3", "train.epochs=1")
    said = workshop.dltk("train", "runs/small/held", expect=2)
    (line,) = remarks(said)
    assert line.startswith(
        f"runs/small/held/LEASE: this run is being trained by process {first.pid} on {socket.gethostname()} since 2"
    )
    assert line.endswith("Wait for it, stop it with `dltk stop runs/small/held`, or train another run.")
    said = workshop.dltk("train", "runs/small/held", "--extend", "train.epochs=9", expect=2)
    assert "is being trained by process" in said.err
    assert "epochs: 1\n" in (workshop.run("held") / "recipe.yaml").read_text(), "extended under the first one's feet"
    first.kill()


NEVER = 1000  # steps


@pytest.mark.parametrize(("lines", "saves", "seconds", "ranks"), [
    (5, NEVER, 0.0, 1),
    (NEVER, 7, 0.0, 1),
    (NEVER, NEVER, 1.1, 1),
    (NEVER, 7, 0.0, 2),
])  # fmt: skip
def test_a_run_that_another_machine_took_over_is_left_as_it_is(
    workshop: Workshop, lines: int, saves: int, seconds: float, ranks: int
) -> None:
    name = f"taken-{lines}-{saves}-{ranks}"
    then, run = workshop.folder / f"then-{name}", workshop.run(name)
    fault = f"train.callbacks=[{{name: 'faults:Steal', step: 16, copy: '{then}', seconds: {seconds}}}]"
    settings = (fault, f"log.every_steps={lines}", f"checkpoint.every_steps={saves}", f"launch.devices={ranks}")
    said = workshop.dltk("train", "small.yaml", f"run={name}", *settings, expect=2)
    last = remarks(said)[-1]
    assert last.startswith(f"runs/small/{name}/LEASE: process 7 on elsewhere trains this run since then; ")
    assert last.endswith("Leave the run to it: this process has stopped, and has written nothing since.")
    assert "Traceback" not in said.err
    assert contents(run) == contents(then)


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run by its path, but for what its processes print."""
    files = [path for path in run.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.parametrize(("fault", "what", "step"), [
    ("step: 11", "the loss is not finite at step 11", 7),
    ("step: 13, after: true", "the weights after the update are not finite at step 13", 7),
])  # fmt: skip
def test_nan_stops_and_is_not_saved(workshop: Workshop, fault: str, what: str, step: int) -> None:
    name = f"nan-{len(fault)}"
    callback = f"train.callbacks=[{{name: 'faults:Poison', {fault}}}]"
    said = workshop.dltk("train", "small.yaml", f"run={name}", callback, "log.every_steps=14", expect=1)
    run = RunFolder.open(workshop.run(name))
    (line,) = [line for line in remarks(said) if "finite" in line]
    assert line.startswith(f"{Path('runs/small') / name}: {what}; its batch: digits/")
    assert line.count("digits/") == 32
    remedy = (
        f"Lower optimizer.lr, or clip with train.clip_norm: dltk train --fork runs/small/{name} optimizer.lr=0.025."
    )
    assert line.endswith(remedy)
    assert "Go on with" not in said.err, "it would come to the same end"
    assert "Traceback" not in said.err
    assert list(run.checkpoints.steps()) == [step]
    (attempt,) = run.ledger.attempts()
    assert attempt["reason"].startswith(what)
    assert (attempt["exit_code"], attempt["steps"], run.status) == (1, step, "crashed")


def test_one_of_two_processes_fails(workshop: Workshop) -> None:
    def train(name: str, fault: str, code: int) -> list[str]:
        began = time.monotonic()
        callback = f"train.callbacks=[{{name: 'faults:Raise', step: 9, rank: 1{fault}}}]"
        said = workshop.dltk("train", "small.yaml", f"run={name}", "launch.devices=2", callback, expect=code)
        assert time.monotonic() - began < 30
        return remarks(said)

    crash = "rank 1 of 2 failed: ZeroDivisionError: the planted crash"
    said = train("crash", "", 1)
    assert said[0] == f"runs/small/crash: {crash}", "the cause, before what it caused"
    assert said[1].startswith("Traceback")
    (attempt,) = RunFolder.open(workshop.run("crash")).ledger.attempts()
    assert (attempt["reason"], attempt["exit_code"]) == (crash, 1)
    assert train("mistake", ", mistake: true", 2) == ["small.yaml:3: data.size: 9 is too many. Set at most 8."]
