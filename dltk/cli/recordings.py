"""What `dltk predict` does for a run that transcribes."""

from pathlib import Path
from typing import TYPE_CHECKING

from dltk.cli import terminal
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.run.folder import RunFolder


def say_transcripts(
    folder: "RunFolder", files: list[Path], checkpoint: str, beam: int, n_best: int, *, as_json: bool
) -> None:
    """Print the transcripts of recordings.

    Raises:
        LaunchError: no recording is given, more transcripts are asked for than the beam is wide, or the run's data are
            no recordings.
        DataError: a file is no recording.
    """
    if not files:
        raise LaunchError("", "FILES", "are missing", "Give recordings.")
    if n_best > beam:
        raise LaunchError("", "--n-best", f"{n_best} of a beam of {beam}", f"Set --beam to at least {n_best}.")
    with terminal.only_json(as_json):
        from dltk.assemble import load
        from dltk.launch.spoken import front_end_of, prepare, transcripts

        prepared = prepare(files, front_end_of(folder))
        found = transcripts(load(folder, checkpoint), [frames for frames, _ in prepared], beam, n_best)  # type: ignore[arg-type]
    if as_json:
        terminal.emit(
            [
                {"file": str(path), "prepared": said, "transcripts": best}
                for path, (_, said), best in zip(files, prepared, found, strict=True)
            ]
        )
        return
    for path, (_, said) in zip(files, prepared, strict=True):
        terminal.say(f"{path}: {', '.join(said)}")
    rows = [
        (path.name if not i else "", one["text"], f"{one['score']:.3f}")
        for path, best in zip(files, found, strict=True)
        for i, one in enumerate(best)
    ]
    terminal.show(terminal.table(["file", "transcript", ">log-probability"], rows))
