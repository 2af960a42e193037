"""The state of the repository itself: what lies where, and what must not be written in it.

Run as a program (`make readme`) it writes the README's table of architectures.
"""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from dltk.catalogue import MODELS
from tests.claims.record import table as table_of_results

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TOP = {
    "README.md", "LICENSE", "pyproject.toml", "Makefile", "dltk", "recipes", "cluster", "tests", "slurm",
    ".ci", ".gitignore", ".pre-commit-config.yaml",
}  # fmt: skip
TABLES = ("models", "results")

# Written in two parts, so that this file does not hold them.
FORBIDDEN = {
    "an absolute path of one machine": re.compile("(?<![.~$}])/(" + "work|root|opt/dltk|home/[a-z]" + ")\\b(?!}})"),
    "a path of one person": re.compile("/" + "Users/"),
    "the host of a package index": re.compile("py" + "pi[.]org|python" + "hosted|download[.]py" + "torch"),
    "an unfinished place": re.compile(r"\b(TO" + "DO|FIX" + "ME|X" + r"XX)\b"),
    "an installation by name (that name is another project's)": re.compile("pip install [\"']?dl" + "tk"),
}


def project_files() -> list[Path]:
    """Files that git keeps, or, outside of git, those that are no tool's leavings."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.split("\0") if name]
    if names:
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    skip = {".git", ".venv", "runs", "__pycache__", ".hypothesis", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
    skip |= {".import_linter_cache", "wandb"}
    found = (path for path in ROOT.rglob("*") if path.is_file())
    return [path for path in found if not skip & set(path.relative_to(ROOT).parts)]


def models_table() -> str:
    """The catalogue's architectures as a table."""
    rows = ["| name | parameters | trained by | paper |", "|---|---|---|---|"]
    for row in MODELS.values():
        count = f"{row.parameters:,}" if row.parameters else "none"
        settings = ", ".join(f"{key}={value}" for key, value in row.settings.items())
        of = f" ({settings})" if settings else ""
        rows.append(f"| `{row.name}` | {count}{of} | {row.task} | {row.paper} |")
    return "\n".join(rows) + "\n"


def with_tables(text: str) -> str:
    """The README with the tables of today's catalogue and records."""
    for name, table in zip(TABLES, (models_table(), table_of_results()), strict=True):
        between = re.compile(rf"(<!-- {name} -->\n).*(<!-- /{name} -->)", re.DOTALL)
        assert between.search(text), f"README.md has no region <!-- {name} -->"
        text = between.sub(lambda match, table=table: match[1] + table + match[2], text)
    return text


def test_nothing_else_lies_at_the_top():
    assert {path.relative_to(ROOT).parts[0] for path in project_files()} <= TOP


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nobody_wrote(what):
    found = []
    for path in project_files():
        if path.suffix in {".png", ".jpg", ".gz", ".npz"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if FORBIDDEN[what].search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
    assert not [path for path in project_files() if path.suffix == ".py" and path.stem in drawers]


def model_files() -> list[Path]:
    return sorted(path for path in (ROOT / "dltk" / "models").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", model_files(), ids=lambda path: path.stem)
def test_model_file_stands_beside_its_paper(path):
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert re.search(r"\b(19|20)\d\d\b", docstring), "the docstring names no paper with its year"
    assert re.search(r"Departs from the (papers?|book):", docstring), (
        "it does not say in what it departs from the paper"
    )
    assert "# Shapes:" in text


def test_every_model_of_the_catalogue_has_its_own_file():
    targets = {row.target.partition(":")[0] for row in MODELS.values() if row.target.startswith("dltk.")}
    shared = {"dltk.models.encoder"}  # ConvNets without their classifiers, for several papers
    assert targets | shared == {f"dltk.models.{path.stem}" for path in model_files()}


def test_every_overlay_is_named_in_the_readme():
    text = README.read_text()
    for path in (ROOT / "cluster").rglob("*.yaml"):
        assert f"`{path.relative_to(ROOT)}`" in text


def test_readme_table_is_the_catalogues():
    assert README.read_text() == with_tables(README.read_text()), "write it anew with `make readme`"


def test_arrays_are_read_without_pickle():
    """Ruff bans the rest of the list; it has no rule for this one."""
    for path in (ROOT / "dltk").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), f"{path}:{node.lineno}"
                assert node.value.value is False, f"{path}:{node.lineno}"


def test_torch_load_stands_in_one_place():
    places = []
    for path in (ROOT / "dltk").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "load" and ast.unparse(node.value) == "torch":
                places.append(path.relative_to(ROOT).as_posix())
    assert places == ["dltk/run/checkpoint.py"]


def test_ci_runs_what_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text()
    assert "make lint" in script
    assert "make test" in script
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", README.read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the Makefile has no target {target}"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
