"""What Debian's packages are, in English and another language: real translations at hand wherever apt is.

`apt-get update` fetches them signed, into folders of their own, so that nothing of the system changes. A description
and its translation carry the same Description-md5. Short descriptions are pairs, and so are paragraphs and the items of
lists where both have as many.

Packages of one source share most of their words (a program, its data, its library): so all descriptions of one source
package are in one part. The Translation files name packages (`Package:`), apt's lists of packages name the source of
those that are called otherwise (`Source:`); a package that they do not list, as those of other processors, is a source
of its own. Sentences that sources share are left out of val and test.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER, lines
from dltk.data.prepare.pairs import pack_by_origin
from dltk.errors import DataError

CAT = "/usr/lib/apt/apt-helper"  # reads whatever apt may have compressed its lists by
ITEM = re.compile(r"([*+•‑–—−-]|o|\d+[.)])\s")  # how an item of a list begins
SPACE = "⋅"  # translators write it for a space that must not be broken
ELSEWHERE = "Give --source with a folder that holds Translation-en.xz, Packages.xz and the like of a mirror."


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from apt's lists, or from files Translation-en, Packages and the like in the user's folder.

    Raises:
        DataError: there is no apt here, it cannot fetch, or a file is missing or damaged.
    """
    languages = origin.languages or ("en", "fr")
    lists = _from_apt(to / FOLDER, languages) if origin.folder is None else _from_folder(origin.folder, languages)
    about = {"source": "descriptions of Debian's packages", "languages": list(languages)}
    packing = pack_by_origin(
        _pairs(lists), to, name="debian_descriptions", about=about, settings=settings, progress=progress
    )
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


class Description(NamedTuple):
    """What a package is, in one language."""

    packages: set[str]  # that are described so
    parts: list[str]  # the short description, then paragraphs and items


Descriptions = dict[str, Description]  # by Description-md5


class Lists(NamedTuple):
    """What the pairs are made from."""

    languages: list[Descriptions]  # source, target
    sources: dict[str, str]  # of packages that are called otherwise than their source package


def descriptions(text: Iterable[bytes], language: str) -> Descriptions:
    """The descriptions of one language in a Translation file (deb822 records)."""
    found: Descriptions = {}
    package, md5, parts, inside = "", "", [""], False
    for raw in text:
        line = raw.decode("utf-8", "replace").rstrip("\n").replace(SPACE, " ")
        if inside and line.startswith(" "):
            _extend(parts, line[1:])
            continue
        inside = False
        name, _, value = line.partition(":")
        if name == "Package":
            package = value.strip()
        elif name == "Description-md5":
            md5 = value.strip()
        elif name == f"Description-{language}":
            parts, inside = [value.strip(), ""], True
            packages = found[md5].packages if md5 in found else set()
            found[md5] = Description(packages | {package}, parts)
    return {
        key: Description(one.packages, [" ".join(part.split()) for part in one.parts if part])
        for key, one in found.items()
    }


def _extend(parts: list[str], line: str) -> None:
    """Add a line of a long description: to its paragraph or item, or as the first of one."""
    stripped = line.strip()
    if stripped == ".":
        parts.append("")
    elif match := ITEM.match(stripped):
        parts.append(stripped[match.end() :].strip())
    else:
        parts[-1] = f"{parts[-1]} {stripped}".strip()


def sources(text: Iterable[bytes]) -> dict[str, str]:
    """The source packages of a list of packages, of those that are called otherwise."""
    found, package = {}, ""
    for line in text:
        if line.startswith(b"Package: "):
            package = line.decode().split()[1]
        elif line.startswith(b"Source: "):
            found[package] = line.decode().split()[1]  # its version may follow
    return found


def _pairs(lists: Lists) -> Iterator[tuple[str, str, str]]:
    """Source package, sentence and translation; once for each source that describes a package so."""
    source, target = lists.languages
    for key in sorted(source.keys() & target.keys()):
        one, other = source[key].parts, target[key].parts
        if one and other:
            pairs = list(zip(one, other, strict=True)) if len(one) == len(other) else [(one[0], other[0])]
            packages = source[key].packages | target[key].packages
            for origin in sorted({lists.sources.get(package, package) for package in packages}):
                yield from ((origin, *pair) for pair in pairs)


def _from_folder(folder: Path, languages: tuple[str, str]) -> Lists:
    def named(name: str) -> list[Path]:
        paths = sorted(folder.glob(f"*{name}")) + sorted(folder.glob(f"*{name}.*"))
        if not paths:
            raise DataError(folder, "--source", f"holds no {name}", "Add it, plain, xz, bz2 or gz.")
        return paths

    return _read(named, languages, lambda path: lines(path, ""))


def _from_apt(folder: Path, languages: tuple[str, str]) -> Lists:
    """Let apt fetch its lists into a folder of their own, and read them."""
    if shutil.which("apt-get") is None or not Path(CAT).exists():
        raise DataError("", "apt-get", "is not on this machine, which is no Debian", ELSEWHERE)
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    options = {
        "Acquire::Languages": ",".join(languages),
        "Dir::State::Lists": lists.resolve(),
        "Dir::Cache": folder.resolve(),
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(["apt-get", "update", *words], capture_output=True, text=True, check=False)

    def named(name: str) -> list[Path]:
        paths = sorted(lists.glob(f"*_{name}*"))
        if not paths:
            said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            remedy = f"Look at the network and sources.list. {ELSEWHERE}"
            raise DataError("", "apt-get update", f"gave no {name}: {said}", remedy)
        return paths

    return _read(named, languages, _cat)


def _read(
    named: Callable[[str], list[Path]], languages: tuple[str, str], opened: Callable[[Path], Iterable[bytes]]
) -> Lists:
    """All files of both languages, and of packages."""
    found: list[Descriptions] = []
    for language in languages:
        every: Descriptions = {}
        for path in named(f"Translation-{language}"):
            _join(every, descriptions(opened(path), language))
        found.append(every)
    return Lists(found, {one: source for path in named("Packages") for one, source in sources(opened(path)).items()})


def _join(every: Descriptions, more: Mapping[str, Description]) -> None:
    for key, one in more.items():
        packages = every[key].packages if key in every else set()
        every[key] = Description(packages | one.packages, one.parts)


def _cat(path: Path) -> Iterator[bytes]:
    with subprocess.Popen([CAT, "cat-file", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield from process.stdout
    if process.returncode:
        raise DataError(path, "", f"cannot be read (apt-helper left with {process.returncode})", "Try again.")
