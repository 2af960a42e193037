"""Icons, from small packages that dpkg-deb builds."""

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from dltk.data.pack import Settings
from dltk.data.prepare import Origin, icons
from dltk.data.shards.sets import read_set
from dltk.errors import DataError
from tests.data.prepare.conftest import debian_package, quiet, samples

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb: apt-get install dpkg")

NAMES = [f"name-{number:02d}" for number in range(10)]


def png(colour: tuple[int, int, int], size: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(file, "PNG")
    return file.getvalue()


def build(folder: Path, package: str, files: dict[str, bytes]) -> None:
    """A package that holds files under /usr/share/icons."""
    debian_package(folder, package, {f"usr/share/icons/{name}": data for name, data in files.items()})


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine packages of one theme each; names of two contexts, in two orders of folders."""
    folder = tmp_path_factory.mktemp("packages")
    for number, package in enumerate(icons.PACKAGES):
        theme, files = f"theme{number}", {}
        for place, name in enumerate(NAMES):
            for size in (16, 48, 64, 128):
                files[f"{theme}/{size}x{size}/actions/{name}.png"] = png((number, place, size), size)
                files[f"{theme}/places/{size}/{name}.png"] = png((number + 100, place, size), size)
        files[f"{theme}/64x64@2x/actions/dense.png"] = png((1, 2, 3), 128)
        files[f"{theme}/64x64/animations/moving.png"] = png((1, 2, 3), 64)
        files[f"{theme}/64x64/mimes/copied.png"] = png((9, 9, 9), 64)  # the same bytes in every theme
        files[f"{theme}/64x64/mimetypes/{'long.' * 20}.png"] = png((number, 200, 0), 64)
        build(folder, package, files)
    return folder


def test_one_drawing_of_each_theme_context_and_name(packages: Path, tmp_path: Path) -> None:
    to = tmp_path / "icons"
    made = icons.prepare(Origin(folder=packages), to, Settings(), quiet)
    found = {part: samples(to, part) for part in ("train", "val", "test")}
    every = {key: files for part in found.values() for key, files in part.items()}
    themes = len(icons.PACKAGES)
    assert len(every) == sum(made.samples.values()) == themes * (2 * len(NAMES) + 1) + 1
    assert sum(key.startswith("mimetypes/copied/") for key in every) == 1
    for key, files in every.items():
        context, _, theme = key.split("/")
        assert icons.CLASSES[int(files["cls"])] == context
        picture = Image.open(io.BytesIO(files["png"]))
        assert picture.size == (64, 64)
        if context in ("actions", "places"):
            assert picture.getpixel((0, 0))[0] % 100 == int(theme.removeprefix("theme"))
    assert read_set(to).classes == list(icons.CLASSES)


def test_a_name_lies_in_one_split_only(packages: Path, tmp_path: Path) -> None:
    to = tmp_path / "icons"
    icons.prepare(Origin(folder=packages), to, Settings(), quiet)
    places: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        for key in samples(to, part):
            places.setdefault(key.rpartition("/")[0], set()).add(part)
    assert all(len(parts) == 1 for parts in places.values())
    assert {part for parts in places.values() for part in parts} == {"train", "val", "test"}


def test_packages_stay_as_they_are_and_give_the_same_bytes_again(packages: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in packages.glob("*.deb")}
    for name in ("one", "two"):
        icons.prepare(Origin(folder=packages), tmp_path / name, Settings(), quiet)
    assert {path.name: path.read_bytes() for path in packages.glob("*.deb")} == before
    one, two = (sorted(tmp_path.glob(f"{name}/*/*.tar")) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_a_missing_and_a_damaged_package_are_named(packages: Path, tmp_path: Path) -> None:
    packages = Path(shutil.copytree(packages, tmp_path / "copies", ignore=shutil.ignore_patterns("*.root")))
    damaged = packages / f"{icons.PACKAGES[2]}_1.0_all.deb"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{damaged.name}: .*Fetch it again"):
        icons.prepare(Origin(folder=packages), tmp_path / "icons", Settings(), quiet)
    damaged.unlink()
    with pytest.raises(DataError, match=rf"holds no {icons.PACKAGES[2]}_\*\.deb"):
        icons.prepare(Origin(folder=packages), tmp_path / "icons", Settings(), quiet)


def test_without_apt_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"Fetch elementary-xfce-icon-theme, .* --source"):
        icons.prepare(Origin(), tmp_path / "icons", Settings(), quiet)
