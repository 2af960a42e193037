"""Published weights become a run folder, for whatever evaluates, predicts, draws or starts from a run."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dltk import recipe
from dltk.assemble import build_task
from dltk.data.shards.source import fetch, is_local
from dltk.errors import LaunchError
from dltk.layouts import LAYOUTS, require_same, translated
from dltk.run.folder import RunFolder
from dltk.weights import misfits, read_weights


def import_weights(
    source: str, architecture: str, layout: str, *sources: Any, to: Path | None = None, sha256: str | None = None
) -> RunFolder:
    """A run folder with weights that another library published, as checkpoint of step 0.

    Data and task are those of the network's recipe for ImageNet 2012, but for the number of classes and for mean and
    deviation of the pixels, which are the publisher's.

    Args:
        source: a file of tensors (safetensors, or saved by torch), or its address; an address needs its `sha256`.
        architecture: of the catalogue.
        layout: whose names the tensors have, `torchvision` or `timm`.
        sources: further recipe files, overlays and `key=value`.
        to: the run folder; by default below `runs_dir`, named by layout and hash.
        sha256: that the file must have.

    Raises:
        LaunchError: the file is missing, has another hash, or holds another network's weights.
        RecipeError: a setting is wrong.
    """
    require_same(architecture)
    with _local(source, sha256) as path:
        found, digest = read_weights(path)
    weights = translated(found, architecture, layout, source)
    wanted = _recipe(architecture, layout, len(weights["fc8.bias"]), sources)
    task = build_task(wanted.settings, restored=True)
    faults = misfits(task.model.state_dict(), weights)
    if faults:
        raise LaunchError(source, "--as", f"does not fit {architecture}: {faults}", "Give that network's weights.")
    task.model.load_state_dict(weights)
    runs_dir, name, run = Path(wanted.settings["runs_dir"]), wanted.name, f"{layout}-{digest[:8]}"
    if to is not None:
        to = to if len(to.parts) > 2 else to.absolute()
        runs_dir, name, run = to.parent.parent, to.parent.name, to.name
    about = {"file": Path(source).name if is_local(source) else source, "sha256": digest, "layout": layout}
    folder = RunFolder.create(
        runs_dir, name, wanted.settings, run=wanted.settings["run"] or run, text=recipe.freeze(wanted), imported=about
    )
    folder.checkpoints.write(0, {"state_dict": task.state_dict()}, {"epoch": 0, "samples": 0})
    return folder


def _recipe(architecture: str, layout: str, classes: int, sources: tuple[Any, ...]) -> recipe.Recipe:
    theirs = LAYOUTS[layout]
    changes = {
        "model": {"num_classes": classes},
        "task": {"mean": list(theirs.mean), "std": list(theirs.std)},
        "init": [],
        "claim": None,  # it is about a training of ours
    }
    return recipe.load(f"{architecture}_imagenet2012", changes, *sources)


@contextmanager
def _local(source: str, sha256: str | None) -> Iterator[Path]:
    """The file, fetched where it lies elsewhere, its hash checked before anything of it is read."""
    if is_local(source):
        path = Path(source)
        if not path.is_file():
            raise LaunchError(source, "", "no such file", "Give a file of weights, or its address with --sha256.")
        _require_hash(source, path, sha256)
        yield path
        return
    if sha256 is None:
        raise LaunchError(source, "--sha256", "is missing, and weights from elsewhere are read only with it", "Add it.")
    with tempfile.TemporaryDirectory(prefix="dltk-") as folder:
        path = Path(folder, "weights" + Path(urlsplit(source).path).suffix)
        fetch(source, path)
        _require_hash(source, path, sha256)
        yield path


def _require_hash(source: str, path: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise LaunchError(source, "--sha256", f"is {found}, not {sha256}", "Nothing was read. Check file and hash.")
