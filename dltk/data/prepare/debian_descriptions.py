"""What Debian's packages are, in English and another language: real translations at hand wherever apt is.

`apt-get update` fetches them signed, into folders of their own, so that nothing of the system changes. A description
and its translation carry the same Description-md5. Short descriptions are pairs, and so are paragraphs and the items of
lists where both have as many.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER, lines
from dltk.data.prepare.pairs import pack_pairs
from dltk.errors import DataError

CAT = "/usr/lib/apt/apt-helper"  # reads whatever apt may have compressed its lists by
ITEM = re.compile(r"([*+•–-]|o|\d+[.)]) ")  # how an item of a list begins
ELSEWHERE = "Give --source with a folder that holds Translation-en.xz and the like, as in a Debian mirror's i18n/."


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from apt's lists, or from files Translation-en and the like in the user's folder.

    Raises:
        DataError: there is no apt here, it cannot fetch, or a file is missing or damaged.
    """
    languages = origin.languages or ("en", "fr")
    source, target = (
        _from_apt(to / FOLDER, languages) if origin.folder is None else _from_folder(origin.folder, languages)
    )
    about = {"source": "descriptions of Debian's packages", "languages": list(languages)}
    packing = pack_pairs(
        _pairs(source, target), to, name="debian_descriptions", about=about, settings=settings, progress=progress
    )
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


Descriptions = dict[str, list[str]]  # by Description-md5: the short one, then paragraphs and items


def descriptions(text: Iterator[bytes], language: str) -> Descriptions:
    """The descriptions of one language in a Translation file (deb822 records)."""
    found: Descriptions = {}
    md5, parts, inside = "", [""], False
    for raw in text:
        line = raw.decode("utf-8", "replace").rstrip("\n")
        if inside and line.startswith(" "):
            _extend(parts, line[1:])
            continue
        inside = False
        name, _, value = line.partition(":")
        if name == "Description-md5":
            md5 = value.strip()
        elif name == f"Description-{language}":
            parts, inside = [value.strip(), ""], True
            found[md5] = parts
    return {key: [" ".join(part.split()) for part in parts if part] for key, parts in found.items()}


def _extend(parts: list[str], line: str) -> None:
    """Add a line of a long description: to its paragraph or item, or as the first of one."""
    stripped = line.strip()
    if stripped == ".":
        parts.append("")
    elif match := ITEM.match(stripped):
        parts.append(stripped[match.end() :].strip())
    else:
        parts[-1] = f"{parts[-1]} {stripped}".strip()


def _pairs(source: Descriptions, target: Descriptions) -> Iterator[tuple[str, str]]:
    for key in sorted(source.keys() & target.keys()):
        one, other = source[key], target[key]
        if one and other:
            yield from zip(one, other, strict=True) if len(one) == len(other) else [(one[0], other[0])]


def _from_folder(folder: Path, languages: tuple[str, str]) -> list[Descriptions]:
    answer = []
    for language in languages:
        paths = sorted(folder.glob(f"*Translation-{language}")) + sorted(folder.glob(f"*Translation-{language}.*"))
        if not paths:
            raise DataError(folder, "--source", f"holds no Translation-{language}", "Add it, plain, xz, bz2 or gz.")
        answer.append({key: parts for path in paths for key, parts in descriptions(lines(path, ""), language).items()})
    return answer


def _from_apt(folder: Path, languages: tuple[str, str]) -> list[Descriptions]:
    """Let apt fetch its lists into a folder of their own, and read them."""
    if shutil.which("apt-get") is None or not Path(CAT).exists():
        raise DataError("", "apt-get", "is not on this machine, which is no Debian", ELSEWHERE)
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    options = {
        "Acquire::Languages": ",".join(languages),
        "Acquire::IndexTargets::deb::Packages::DefaultEnabled": "false",
        "Dir::State::Lists": lists.resolve(),
        "Dir::Cache": folder.resolve(),
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(["apt-get", "update", *words], capture_output=True, text=True, check=False)
    answer = []
    for language in languages:
        paths = sorted(lists.glob(f"*_Translation-{language}*"))
        if not paths:
            said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            what = f"gave no translations into '{language}': {said}"
            raise DataError("", "apt-get update", what, f"Look at the network and sources.list. {ELSEWHERE}")
        answer.append({key: parts for path in paths for key, parts in descriptions(_cat(path), language).items()})
    return answer


def _cat(path: Path) -> Iterator[bytes]:
    with subprocess.Popen([CAT, "cat-file", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield from process.stdout
    if process.returncode:
        raise DataError(path, "", f"cannot be read (apt-helper left with {process.returncode})", "Try again.")
