"""The wheel: what is in it, and that it works away from the checkout."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder that holds the wheel's files and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def dltk(installed: Path, away: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command from another folder."""
    return subprocess.run(
        [sys.executable, "-m", "dltk", *arguments],
        capture_output=True,
        text=True,
        cwd=away,
        env=os.environ | {"PYTHONPATH": str(installed)},
        timeout=100,
    )


def test_wheel_holds_package_recipes_and_overlays(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("recipes", "cluster"):
        files = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.yaml")]
        assert files
        assert {f"dltk/shipped/{path.as_posix()}" for path in files} <= names
    ours = (path for end in ("py", "html", "js", "css", "LICENSE") for path in (ROOT / "dltk").rglob(f"*.{end}"))
    assert {path.relative_to(ROOT).as_posix() for path in ours} <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dltk"}
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_installed_package_is_the_one_that_runs(installed, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", "import dltk; print(dltk.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
    )
    assert Path(answer.stdout.strip()) == installed / "dltk" / "__init__.py"


def test_installed_list_names_every_recipe(installed, tmp_path):
    answer = dltk(installed, tmp_path, "list", "--json")
    assert answer.returncode == 0, answer.stderr
    listed = json.loads(answer.stdout)["recipes"]
    assert {row["name"] for row in listed} == {path.stem for path in (ROOT / "recipes").rglob("*.yaml")}
    assert all(Path(row["path"]).is_relative_to(installed) for row in listed if Path(row["path"]).is_absolute())


def test_installed_recipe_and_overlay_validate_by_name(installed, tmp_path):
    answer = dltk(installed, tmp_path, "validate", "lenet5_digits", "ddp", "launch.devices=2")
    assert answer.returncode == 0, answer.stderr


def test_installed_mistake_is_one_line(installed, tmp_path):
    answer = dltk(installed, tmp_path, "validate", "lenet5_digits", "model.num_clases=3")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert "Did you mean 'num_classes'?" in answer.stderr


def test_extras_are_those_of_the_readme():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"ray", "deepspeed", "text", "faces", "speech", "onnx", "s3", "gs", "test", "all"}
    assert set(project["optional-dependencies"]) == extras
    readme = (ROOT / "README.md").read_text()
    for extra in project["optional-dependencies"]:
        assert f"`{extra}`" in readme, f"the README does not say what the extra {extra} is for"
