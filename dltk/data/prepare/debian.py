"""Packages of Debian from which sets are made: from the user's folder, or fetched and verified by apt."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dltk.errors import DataError


def download(names: Sequence[str], to: Path) -> Path:
    """Have apt fetch packages into a folder; the folder.

    Raises:
        DataError: there is no apt here, or it cannot.
    """
    if shutil.which("apt-get") is None:
        remedy = f"Fetch {', '.join(names)} from Debian, and give --source with their folder."
        raise DataError("", "apt-get", "is not on this machine, which is no Debian", remedy)
    to.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["apt-get", "-qq", "download", *names], cwd=to, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError("", "apt-get download", reason, "Try `apt-get update` first, or give --source.")
    return to


def unpack(package: Path, to: Path) -> None:
    """The files of a package (.deb) into a folder.

    Raises:
        DataError: there is no dpkg here, or the package is damaged.
    """
    if shutil.which("dpkg-deb") is None:
        raise DataError(package, "", "cannot be read without dpkg-deb", "Install Debian's dpkg.")
    done = subprocess.run(["dpkg-deb", "-x", str(package), str(to)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(package, "", "is no whole package (dpkg-deb cannot read it)", "Fetch it again.")


def packages(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files of packages (.deb) in a folder.

    Raises:
        DataError: one is missing.
    """
    found = {name: next(iter(sorted(folder.glob(f"{name}_*.deb"))), None) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise DataError(folder, "--source", f"holds no {missing[0]}_*.deb", "`apt-get download` fetches it.")
    return [path for path in found.values() if path is not None]
