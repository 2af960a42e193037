"""Makes the environment of a checkout: looks at the machine, says what it will install, installs it, once.

`make quickstart` and `make test` run it as `python3 -I dltk/bootstrap.py`. It needs nothing but Python, imports
nothing of dltk, and is written so that an older Python (3.6 on) can still read it and say what is missing: hence the
quoted annotations.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
OTHERS = ("python3.13", "python3.12", "python3.11", "python3.14")  # looked for when the running Python is too old
GIB = 1024**3
INSTALLED = {"CPU": 1.6, "CUDA": 6.5}  # GB on the disk afterwards, with what torch brings along
NEEDED = {"CPU": 2.5, "CUDA": 10.0}  # GB free to begin with: downloads are kept beside what is unpacked
UNPACKING = 3.0  # GB of room in the folder for temporary files
PROBE_SECONDS = 25
INSTALL_SECONDS = 3600
TAIL = 20  # lines of the log shown after a failure


class Refusal(Exception):
    """What is missing on this machine, and what to do about it, in one line."""


# What the machine has.


def check_system(system: str, machine: str) -> None:
    """Refuse the systems for which there is no current torch.

    Raises:
        Refusal: on Windows and on Macs with an Intel processor.
    """
    if system == "Windows":
        raise Refusal("system: Windows is not supported. Use Linux, a Mac with Apple silicon, or WSL 2.")
    if system == "Darwin" and machine == "x86_64":
        raise Refusal("system: torch has no current build for Intel Macs. Use Linux or a Mac with Apple silicon.")


def version_of(python: str) -> "tuple[int, int] | None":
    """Version of the Python at this path; None when it does not run (a shim of pyenv may not)."""
    try:
        answer = subprocess.check_output(
            [python, "-I", "-c", "import sys; print(*sys.version_info[:2])"], stderr=subprocess.DEVNULL, timeout=20
        )
        major, minor = answer.split()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return int(major), int(minor)


def newer_python() -> str:
    """Path of a Python that is new enough.

    Raises:
        Refusal: when there is none on the PATH.
    """
    for name in OTHERS:
        path = shutil.which(name)
        version = version_of(path) if path else None
        if path and version and version >= OLDEST:
            return path
    raise Refusal(
        f"python: this is {platform.python_version()}, and no newer one is on the PATH. "
        "Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 ..."
    )


def check_venv() -> None:
    """Refuse a Python that cannot make virtual environments (Debian packs that part separately).

    Raises:
        Refusal: with the command that installs it.
    """
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        raise Refusal(
            f"venv: this Python makes no virtual environments ({error}). Install it, on Debian and Ubuntu by "
            f"`sudo apt install {package}`, or name another Python: make PYTHON=/path/to/python3 ..."
        ) from error


def nvidia_device() -> str:
    """The first NVIDIA device and its driver in words; empty when there is none."""
    if shutil.which("nvidia-smi"):
        try:
            answer = subprocess.run(
                ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=20,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        lines = answer.stdout.strip().splitlines()
        if answer.returncode == 0 and lines:
            count = f"{len(lines)} x " if len(lines) > 1 else ""
            name, _, driver = lines[0].partition(", ")
            return f"{count}{name}, driver {driver}"
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return ""


def free_gb(folder: Path) -> float:
    """GB free where this folder is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / GIB


def check_disk(venv: Path, build: str) -> None:
    """Refuse a disk on which the environment will not fit.

    Raises:
        Refusal: with what is free and what is needed.
    """
    free = free_gb(venv)
    if free < NEEDED[build]:
        raise Refusal(
            f"disk: {free:.1f} GB free at {venv.parent}, {NEEDED[build]:g} GB needed. "
            "Make room, or put the environment elsewhere: make VENV=/path/with/room ..."
        )


# What is there already.


def stamp_of(venv: Path) -> Path:
    """The file that says what the environment was made from."""
    return venv / "dltk-environment.json"


def wanted(extras: "list[str]") -> "dict[str, object]":
    """What the environment must have been made from to be used as it is."""
    return {
        "pyproject": hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest(),
        "checkout": str(ROOT),
        "python": platform.python_version(),
        "extras": sorted(extras),
    }


def read_stamp(venv: Path) -> "dict[str, object]":
    """What the environment was made from; empty when it was not finished, or its Python is gone."""
    try:
        stamp = json.loads(stamp_of(venv).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and version_of(str(python_of(venv))) else {}


def is_ready(stamp: "dict[str, object]", want: "dict[str, object]") -> bool:
    """Whether nothing has to be installed: the same project and Python, and at least these extras."""
    have, need = stamp.get("extras", []), want["extras"]
    assert isinstance(have, list)
    assert isinstance(need, list)
    return set(need) <= set(have) and all(stamp.get(key) == want[key] for key in want if key != "extras")


def python_of(venv: Path) -> Path:
    """The environment's own Python."""
    return venv / "bin" / "python"


# Installing.


class Step:
    """One step with its seconds: a running counter on a terminal, a line now and then elsewhere."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.began = self.said = time.monotonic()
        self.terminal = sys.stdout.isatty()
        say(f"  {what} ...", end="" if self.terminal else "\n")

    def tick(self) -> None:
        """Show that it goes on."""
        now = time.monotonic()
        if now - self.said >= (1 if self.terminal else 30):
            self.said = now
            text = f"  {self.what} ... {now - self.began:.0f} s"
            say(f"\r{text}" if self.terminal else text, end="" if self.terminal else "\n")

    def done(self, note: str = "") -> None:
        """Close the line."""
        text = f"  {self.what}: {time.monotonic() - self.began:.0f} s{note}"
        say(f"\r{text:<78}" if self.terminal else text)


def say(text: str, end: str = "\n") -> None:
    """Print at once, also into a pipe."""
    print(text, end=end, flush=True)


def clean_environment() -> "dict[str, str]":
    """Our variables for a child, less those that would show it other packages."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def environment(venv: Path) -> "dict[str, str]":
    """The variables of an installer; its temporary files lie beside the environment where /tmp is small."""
    variables = clean_environment()
    variables["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    if "TMPDIR" not in variables and free_gb(Path(tempfile.gettempdir())) < UNPACKING:
        spare = venv / "tmp"
        spare.mkdir(parents=True, exist_ok=True)
        variables["TMPDIR"] = str(spare)
    return variables


def run(step: Step, command: "list[str]", venv: Path, limit: float) -> bool:
    """Run a command with its output in the environment's log; whether it succeeded within `limit` seconds."""
    deadline = time.monotonic() + limit
    with log_of(venv).open("a") as log:
        print("$", *command, file=log, flush=True)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment(venv), cwd=ROOT
        )
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    print(f"stopped after {limit:.0f} s", file=log)
                    return False
                time.sleep(0.2)
                step.tick()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return process.returncode == 0


def log_of(venv: Path) -> Path:
    """Where the installers' own words go."""
    return venv / "install.log"


def fail(venv: Path, what: str) -> None:
    """Show the end of the log.

    Raises:
        Refusal: always.
    """
    lines = log_of(venv).read_text(errors="replace").splitlines()
    say("\n" + "\n".join(f"    {line}" for line in lines[-TAIL:]))
    raise Refusal(f"{what}: it failed; the whole log is {log_of(venv)}. Mend what it names and run the command again.")


def is_usable(venv: Path, stamp: "dict[str, object]") -> bool:
    """Whether packages can be added to what is there: the same Python, in a checkout that has not been moved."""
    moved = ROOT in venv.parents and stamp.get("checkout", str(ROOT)) != str(ROOT)  # its scripts name the old folder
    return version_of(str(python_of(venv))) == sys.version_info[:2] and not moved


def make_venv(venv: Path) -> None:
    """Make the folder and its Python anew.

    Raises:
        Refusal: when something that is no virtual environment is in the way.
    """
    if venv.exists() and not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
        raise Refusal(f"{venv}: this folder holds something else. Move it away, or: make VENV=/another/folder ...")
    step = Step("making the virtual environment")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(venv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(),
    )
    venv.mkdir(parents=True, exist_ok=True)
    log_of(venv).write_text(made.stdout)
    if made.returncode:
        fail(venv, "making the virtual environment")
    step.done()


def torch_requirements() -> "list[str]":
    """What pyproject.toml says of torch and torchvision."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [line for line in project["dependencies"] if re.match(r"torch(vision)?\b", line)]
    assert len(found) == 2, f"pyproject.toml names {found}, not torch and torchvision"
    return found


def has_torch(venv: Path) -> bool:
    """Whether some torch is installed already; which one is then left as it is."""
    return any(venv.glob("lib/python3*/site-packages/torch-*.dist-info"))


def install_uv(venv: Path) -> str:
    """Path of uv, which can choose a CPU build of torch and pip cannot; empty when it cannot be had."""
    found = shutil.which("uv")
    if found:
        return found
    step = Step("fetching uv, which can choose a build of torch")
    pip = [str(python_of(venv)), "-m", "pip", "install", "--progress-bar", "off", "uv"]
    got = run(step, pip, venv, limit=90)
    step.done("" if got else ", not to be had")
    return str(venv / "bin" / "uv") if got else ""


def cpu_build(venv: Path) -> "list[str]":
    """The command that installs a CPU build of torch; empty when none can be had from here."""
    uv = install_uv(venv)
    if not uv:
        return []
    command = [uv, "pip", "install", "--python", str(python_of(venv)), "--torch-backend=cpu", *torch_requirements()]
    step = Step("looking for a CPU build of torch")
    before = log_of(venv).stat().st_size
    found = run(step, [*command, "--dry-run"], venv, limit=PROBE_SECONDS)
    with log_of(venv).open() as log:
        log.seek(before)
        found = found and re.search(r"\+ torch==\S+\+cpu", log.read()) is not None
    step.done(": found" if found else ": none can be reached from here, taking the usual one")
    return command if found else []


def install(venv: Path, extras: "list[str]", device: str) -> None:
    """Install torch and then the project itself, in place, with these extras."""
    small: list[str] = []
    if platform.system() == "Linux" and not device and not has_torch(venv):
        small = cpu_build(venv)
    build = "CUDA" if platform.system() == "Linux" and not small else "CPU"
    if not has_torch(venv):
        say(f"It will install dltk and what it needs, about {INSTALLED[build]:g} GB with the {build} build of torch,")
        say(f"  into {venv}; this takes minutes, once. To undo it: remove that folder.")
        check_disk(venv, build)
    if small:
        step = Step("installing the CPU build of torch")
        got = run(step, small, venv, limit=INSTALL_SECONDS)
        step.done("" if got else ": failed, taking the usual build")
        if not got:
            check_disk(venv, "CUDA")
    step = Step("installing dltk" + (f" with {', '.join(extras)}" if extras else ""))
    target = ".[{}]".format(",".join(extras)) if extras else "."
    pip = [str(python_of(venv)), "-m", "pip", "install", "--progress-bar", "off", "--editable", target]
    if not run(step, pip, venv, limit=INSTALL_SECONDS):
        fail(venv, "installing dltk")
    shutil.rmtree(venv / "tmp", ignore_errors=True)
    step.done()


def check_device(venv: Path, device: str) -> None:
    """Say so when torch does not see a device that the machine has."""
    asked = subprocess.run(
        [str(python_of(venv)), "-c", "import torch; print(torch.cuda.is_available())"],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    if device and asked.stdout.strip() != "True":
        say(f"  note: torch does not see the GPU ({device}) and will use the CPU. A newer driver, or a build for this")
        say(f"  one (`uv pip install --python {python_of(venv)} --torch-backend=auto torch torchvision`), mends it.")


# The command.


def prepare(venv: Path, extras: "list[str]") -> None:
    """Make the environment right: look, say, install; at once when it is right already.

    Raises:
        Refusal: when this machine cannot have it; one line that says what to do.
    """
    check_system(platform.system(), platform.machine())
    if sys.version_info[:2] < OLDEST:
        other = newer_python()
        say(f"python {platform.python_version()} is too old, going on with {other}")
        os.execv(other, [other, "-I", __file__, *sys.argv[1:]])
    stamp, want = read_stamp(venv), wanted(extras)
    if is_ready(stamp, want):
        return
    check_venv()
    device = nvidia_device()
    say("This machine")
    say(f"  system   {platform.system()} {platform.machine()}")
    say(f"  python   {platform.python_version()} at {sys.executable}")
    say(f"  device   {device or 'no NVIDIA driver: the CPU'}")
    say(f"  disk     {free_gb(venv):.0f} GB free at {venv.parent}")
    check_disk(venv, "CPU")
    if is_usable(venv, stamp):
        stamp_of(venv).unlink(missing_ok=True)
        log_of(venv).write_text("")
    else:
        make_venv(venv)
    # An extra that an earlier call brought is brought up to date with the rest.
    had = stamp.get("extras", [])
    assert isinstance(had, list)
    extras = sorted({*extras, *had})
    install(venv, extras, device)
    check_device(venv, device)
    stamp_of(venv).write_text(json.dumps(wanted(extras), indent=1) + "\n")
    say("The environment is ready.")


def main() -> int:
    """Read the arguments; 0 when the environment is ready, 2 when this machine cannot have it."""
    parser = argparse.ArgumentParser(description="Make the environment of this checkout.")
    parser.add_argument("extras", nargs="*", help="extras of pyproject.toml to install besides, such as test")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the environment")
    arguments = parser.parse_args()
    try:
        prepare(Path(os.path.abspath(arguments.venv)), arguments.extras)
    except Refusal as refusal:
        print(f"dltk: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndltk: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
