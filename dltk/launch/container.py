"""What a job's Python runs in: a container of Slurm's plugin pyxis, or any command that Python runs under."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dltk.errors import LaunchError


def under(launch: Mapping[str, Any]) -> list[str]:
    """The command that Python runs under; none with pyxis, which is a matter of srun's options.

    Args:
        launch: the recipe's section.
    """
    container = launch["container"]
    return list(container["command"]) if container is not None and container["kind"] == "wrapper" else []


def require_wrapper(launch: Mapping[str, Any]) -> None:
    """See that a container is not pyxis', where there is no srun.

    Raises:
        LaunchError: it is.
    """
    container = launch["container"]
    if container is not None and container["kind"] == "pyxis":
        raise LaunchError(
            "", "launch.container.kind", "pyxis is Slurm's, and this is no job of it", "Use kind: wrapper."
        )


def pyxis(launch: Mapping[str, Any], site: Mapping[str, Any], folders: Sequence[Path], place: Path) -> list[str]:
    """The options of srun for a container of pyxis; none where there is no such container.

    They belong to srun: sbatch would put the job's script into the container, where there is no scontrol.

    Args:
        launch: the recipe's section.
        site: the recipe's section.
        folders: what the container must have, at the same paths.
        place: the working folder, from which relative paths are meant; it is mounted too.

    Raises:
        LaunchError: the nodes cannot fetch the image, or a folder's name cannot be given.
    """
    container = launch["container"]
    if container is None or container["kind"] != "pyxis":
        return []
    if container["image"].startswith("docker://") and not site["network"]:
        what = f"'{container['image']}' lies in a registry, which the nodes of this site do not reach"
        remedy = "Import it where there is network, `enroot import -o IMAGE.sqsh docker://…`, and name that file."
        raise LaunchError("", "launch.container.image", what, remedy)
    mounts = [f"{path}:{path}" for path in _outermost([*folders, place])]
    mounts += [mount if ":" in mount else f"{mount}:{mount}" for mount in container["mounts"]]
    for mount in mounts:
        if "," in mount or "${" in mount:
            raise LaunchError("", "launch.container.mounts", f"'{mount}' cannot be a mount", "Name a plain folder.")
    return [
        f"--container-image={container['image']}",
        f"--container-mounts={','.join(mounts)}",
        "--container-mount-home" if container["home"] else "--no-container-mount-home",
        f"--container-workdir={place}",
        "--container-env=PYTHONPATH,PYTHONSAFEPATH",  # else an image's own would count for more
    ]


def _outermost(folders: Sequence[Path]) -> list[Path]:
    """Folders without those that lie in others of them."""
    every = list(dict.fromkeys(folders))
    return [one for one in every if not any(one != other and one.is_relative_to(other) for other in every)]
