"""Python, the packages that dltk needs, and those that it can use, against the versions of `pyproject.toml`."""

import platform
import shutil
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from dltk.launch.doctor.finding import Finding, fail, info, ok, warn

PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
DEVELOPING = ("test", "all")  # extras that are no part of a training
COMPILERS = ("c++", "g++", "clang++")
AGAIN = "Install the project again in this environment, as the README says."


def python() -> Finding:
    """The interpreter's version."""
    from packaging.specifiers import SpecifierSet

    wanted, have = project()["requires-python"], platform.python_version()
    said = f"{have} at {sys.executable}"
    if have in SpecifierSet(wanted):
        return ok(said, version=have)
    return fail(f"{said}; {wanted} is needed", "Make the environment with a newer Python.", version=have)


def required() -> Finding:
    """The packages without which nothing runs."""
    wanted = project()["dependencies"]
    bad = [fault for fault in map(_fault, wanted) if fault]
    versions = {name: version for name, version in map(_version, wanted) if version}
    if bad:
        return fail("; ".join(bad), AGAIN, **versions)
    return ok(f"all {len(wanted)} as new as needed, torch {versions.get('torch')}", **versions)


def extras() -> Finding:
    """The packages of the extras: each may be missing, none may be too old."""
    found, old = {}, []
    for name, wanted in sorted(project()["optional-dependencies"].items()):
        if name in DEVELOPING:
            continue
        faults = [_fault(one) for one in wanted]
        versions = [f"{package} {version}" for package, version in map(_version, wanted) if version]
        whole = len(versions) == len(wanted)
        found[name] = ", ".join(versions) if whole else "not installed"
        old += [fault for fault in faults if fault and whole]
    said = "; ".join(f"{name}: {versions}" for name, versions in found.items())
    return warn(f"{'; '.join(old)} ({said})", AGAIN, **found) if old else info(said, **found)


def compiler() -> Finding:
    """What `train.compile` on a CPU and DeepSpeed's own optimisers need."""
    found = {name: path for name in (*COMPILERS, "ninja") if (path := shutil.which(name))}
    known = [name for name in COMPILERS if name in found]
    says = f"{known[0]} at {found[known[0]]}" if known else "none; only train.compile and DeepSpeed need one"
    return info(says + ("" if "ninja" in found else "; no ninja"), **found)


def project() -> Mapping[str, Any]:
    """What `pyproject.toml` says of the project; of an installed wheel, what its metadata say."""
    if PROJECT.is_file():
        found = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
        if found["name"] == "dltk":
            return found
    about = metadata.metadata("dltk")
    wanted = metadata.requires("dltk") or []
    return {
        "requires-python": about["Requires-Python"],
        "dependencies": [one for one in wanted if "extra ==" not in one],
        "optional-dependencies": {
            name: [one.rpartition(";")[0] for one in wanted if f"extra == '{name}'" in one.replace('"', "'")]
            for name in about.get_all("Provides-Extra") or []
        },
    }


def _version(wanted: str) -> tuple[str, str | None]:
    """Name and installed version of a requirement's package."""
    from packaging.requirements import Requirement

    name = Requirement(wanted).name
    try:
        return name, metadata.version(name)
    except metadata.PackageNotFoundError:
        return name, None


def _fault(wanted: str) -> str | None:
    """What is wrong with a requirement's package here, or None."""
    from packaging.requirements import Requirement

    requirement = Requirement(wanted)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    name, version = _version(wanted)
    if version is None:
        return f"{name} is missing"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{name} is {version}, {requirement.specifier} is needed"


def importable(name: str) -> str | None:
    """Why a package cannot be imported; None where it can."""
    import importlib

    try:
        importlib.import_module(name)
    except Exception as error:  # a broken package raises whatever it likes
        return f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None
