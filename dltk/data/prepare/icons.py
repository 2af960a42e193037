"""Icons drawn by different hands: which kind of thing is it a sign for?

Desktop themes draw the same thousands of names (`document-open`, `battery-low`) each in a style of its own, sorted by
the context that freedesktop.org's Icon Naming Specification gives each: actions, apps, devices … The context is the
class. One picture of about 64 × 64 is taken of each theme, context and name; files that are equal to the byte, which
themes copy from each other, are taken once.

All drawings of one name lie in the same split, so that the test asks for names that were never seen, in any hand. Some
themes were derived from others (MATE's from GNOME's, Obsidian from Faenza): their drawings of a name resemble each
other, and stay together for the same reason.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER
from dltk.data.prepare.debian import download, packages
from dltk.data.splits import SPLITS, split
from dltk.errors import DataError

# Debian's packages of themes that hold PNG files; the licences of the drawings are theirs.
PACKAGES = (
    *("elementary-xfce-icon-theme", "faenza-icon-theme", "gnome-icon-theme", "lxde-icon-theme", "mate-icon-theme"),
    *("moka-icon-theme", "obsidian-icon-theme", "oxygen-icon-theme", "paper-icon-theme"),
)
CLASSES = ("actions", "apps", "categories", "devices", "emblems", "mimetypes", "places", "status")
OTHERWISE = {"mimes": "mimetypes"}  # what some themes call a context
WANTED = 64  # rows and columns of the drawing that is taken, where a theme has several
SIZES = range(48, 129)  # what is looked at
LONGEST = 48  # characters of a name in a key
SIZE = re.compile(r"(\d+)(x\1)?")  # the folder of a size: 64 or 64x64; those for dense screens (64x64@2x) are left out


class Icon(NamedTuple):
    """One drawing."""

    theme: str
    target: int  # its context
    name: str
    size: int

    @property
    def key(self) -> str:
        """Context, name and theme, without dots; of a long name the beginning and a hash."""
        name = self.name
        if len(name) > LONGEST:
            name = f"{name[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return f"{CLASSES[self.target]}/{name}/{self.theme}".replace(".", "_")


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from packages (.deb) in the user's folder, or else from those that apt downloads.

    Raises:
        DataError: there is no apt here, or a package is missing or damaged.
    """
    folder = origin.folder if origin.folder is not None else download(PACKAGES, to / FOLDER)
    drawings = dict(_chosen(packages(folder, PACKAGES)))
    parts = _parts(list(drawings))
    about = {"source": "icon themes of Debian", "packages": list(PACKAGES), "size": WANTED}
    packing = pack(
        _samples(drawings), to, name="icons", classes=CLASSES, about=about, settings=settings,
        split_of=parts.__getitem__, progress=progress,
    )  # fmt: skip
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def _chosen(packages: list[Path]) -> Iterator[tuple[Icon, bytes]]:
    """The drawing of each theme, context and name whose size is nearest to what is wanted, in the order of its key."""
    nearest: dict[tuple[str, int, str], tuple[Icon, bytes]] = {}
    for package in packages:
        for icon, data in _drawings(package):
            other = nearest.get(icon[:3])
            if other is None or _distance(icon) < _distance(other[0]):
                nearest[icon[:3]] = (icon, data)
    seen: set[bytes] = set()
    for icon, data in sorted(nearest.values(), key=lambda one: one[0].key):
        digest = hashlib.sha256(data).digest()
        if digest not in seen:
            seen.add(digest)
            yield icon, data


def _distance(icon: Icon) -> tuple[int, int]:
    return abs(icon.size - WANTED), icon.size


def _drawings(package: Path) -> Iterator[tuple[Icon, bytes]]:
    """The PNG files of a package, read where they lie."""
    if shutil.which("dpkg-deb") is None:
        raise DataError(package, "", "cannot be read without dpkg-deb", "Install Debian's dpkg.")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", os.fspath(package)], stdout=subprocess.PIPE) as reading:
        try:
            with tarfile.open(fileobj=reading.stdout, mode="r|") as archive:
                for member in archive:
                    icon = _icon(member.name)
                    if member.isreg() and icon is not None:
                        file = archive.extractfile(member)
                        assert file is not None, f"{member.name} is a file"
                        yield icon, file.read()
        except tarfile.TarError as error:
            raise DataError(package, "", f"is no whole package ({error})", "Fetch it again.") from None
    if reading.returncode:
        raise DataError(package, "", "is no whole package (dpkg-deb cannot read it)", "Fetch it again.")


def _icon(path: str) -> Icon | None:
    """What a file's path says, such as ./usr/share/icons/gnome/64x64/actions/document-open.png."""
    _, _, below = path.partition("/icons/")
    theme, *folders = below.split("/")
    name = folders.pop() if folders else ""
    contexts = [context for folder in folders if (context := OTHERWISE.get(folder, folder)) in CLASSES]
    sizes = [int(match[1]) for folder in folders if (match := SIZE.fullmatch(folder))]
    if not name.endswith(".png") or len(contexts) != 1 or len(sizes) != 1 or sizes[0] not in SIZES:
        return None
    return Icon(theme, CLASSES.index(contexts[0]), name.removesuffix(".png"), sizes[0])


def _parts(icons: list[Icon]) -> dict[str, str]:
    """The split of each key: 70/10/20 of a context's names."""
    names = sorted({(icon.target, icon.name) for icon in icons})
    parts = split([f"{CLASSES[target]}/{name}" for target, name in names], [target for target, _ in names])
    of_name = {names[number]: part for part, chosen in zip(SPLITS, parts, strict=True) for number in chosen.tolist()}
    return {icon.key: of_name[icon.target, icon.name] for icon in icons}


def _samples(drawings: dict[Icon, bytes]) -> Iterator[dict[str, Any]]:
    for icon, data in drawings.items():
        yield {"__key__": icon.key, "png": data, "cls": str(icon.target).encode()}
