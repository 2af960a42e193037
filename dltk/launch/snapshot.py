"""The code that a job runs: a copy of what Git tracks, as it is now, so that later changes do not reach the job."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import dltk
from dltk.errors import LaunchError
from dltk.run.atomic import refusing

LARGEST = 64 << 20  # bytes of all files
_KEYS = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=]{16}")
_KEY_FILES = re.compile(r"(?:^|/)(?:\.env|\.netrc|id_(?:rsa|dsa|ecdsa|ed25519)|[^/]*\.(?:pem|p12|pfx))$")


def snapshot(folder: Path, to: Path, note: Callable[[str], None]) -> list[Path]:
    """Copy the code that a run needs: the repository of a working folder, and dltk's own where it is another.

    Args:
        folder: the working folder.
        to: a folder that is not there yet.
        note: is told of Python files that Git does not track, and that are left out.

    Returns:
        Where Python finds the code. A working folder in no repository is not copied, but named itself.

    Raises:
        LaunchError: a file looks like a secret key, or they are too large.
    """
    roots = [_root(folder), _root(Path(dltk.__file__).parent)]
    repositories = list(dict.fromkeys(root for root in roots if root is not None))
    copies = [_copy(root, to / str(number)) for number, root in enumerate(repositories)]
    for root in repositories:
        others = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "*.py").split("\0")[:-1]
        if others:
            shown = ", ".join(others[:5]) + (" …" if len(others) > 5 else "")
            note(f"{root}: not tracked by Git, so the job does not have: {shown}")
    return copies if roots[0] is not None else [folder.absolute(), *copies]


def _copy(root: Path, to: Path) -> Path:
    """Copy the tracked files of a repository, with their local changes."""
    names = _git(root, "ls-files", "-z", "--recurse-submodules").split("\0")
    inside = {(root / name).absolute() for name in names if name}
    files = [name for name in names if name and (root / name).is_file() and (root / name).resolve() in inside]
    size = sum((root / name).stat().st_size for name in files)
    if size > LARGEST:
        what = f"the tracked files are {size / 1e6:,.0f} MB, more than the {LARGEST / 1e6:.0f} MB of a snapshot"
        raise LaunchError(root, "", what, "Keep data outside of the repository.")
    for name in files:
        if _KEY_FILES.search(name) or _KEYS.search((root / name).read_bytes()):
            what = "looks like a secret key, and would be copied into the run folder"
            raise LaunchError(root, name, what, "Take it out of Git: `git rm --cached`.")
    with refusing(to, "cannot copy the code"):
        for name in files:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)
    return to


def _root(folder: Path) -> Path | None:
    try:
        text = _git(folder, "rev-parse", "--show-toplevel")
    except (OSError, subprocess.CalledProcessError):
        return None
    return Path(text.strip())


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
