"""What `dltk predict` does for a run that describes pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltk.cli import terminal
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from torch import Tensor

    from dltk.run.folder import RunFolder


def seen(task: Any, path: Path) -> "tuple[Tensor, list[str]]":
    """A picture file as a captioner takes it (c, h, w), bytes, and what was done to it, in words.

    Raises:
        DataError: the file is no picture.
    """
    from dltk.cli.pictures import Manner, prepare

    return prepare(path, Manner(tuple(task.model.input_shape)))


def say_captions(
    folder: "RunFolder", files: list[Path], checkpoint: str, beam: int, n_best: int, *, as_json: bool
) -> None:
    """Print the captions of pictures.

    Raises:
        LaunchError: no picture is given, or more captions are asked for than the beam is wide.
        DataError: a file is no picture.
    """
    if not files:
        raise LaunchError("", "FILES", "are missing", "Give pictures.")
    if n_best > beam:
        raise LaunchError("", "--n-best", f"{n_best} of a beam of {beam}", f"Set --beam to at least {n_best}.")
    with terminal.only_json(as_json):
        from dltk.assemble import load
        from dltk.launch.described import captions, describer

        task = describer(folder, load(folder, checkpoint), "predict")
        prepared = [seen(task, path) for path in files]
        found = captions(task, [image for image, _ in prepared], beam, n_best)
    if as_json:
        terminal.emit(
            [
                {"file": str(path), "prepared": said, "captions": best}
                for path, (_, said), best in zip(files, prepared, found, strict=True)
            ]
        )
        return
    rows = [
        (path.name if not i else "", one["text"], f"{one['score']:.3f}")
        for path, best in zip(files, found, strict=True)
        for i, one in enumerate(best)
    ]
    terminal.show(terminal.table(["file", "caption", ">log-probability"], rows))
