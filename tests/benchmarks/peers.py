"""Other projects' programs beside ours: environments that hold them, and processes that take turns.

A peer may force older packages than ours, so each has an environment of its own. It sees the packages of this one, and
what the peer wants otherwise lies before them; so torch is the same for all, and need not be installed again.
"""

import contextlib
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The Python of an environment that holds some packages, made in a folder where it is not there yet.

    Raises:
        RuntimeError: they could not be installed.
    """
    python, done = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "".join(f"{one}\n" for one in requirements)
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"Installing {', '.join(requirements)} into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "outer.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    _run([str(python), "-m", "pip", "install", "--quiet", *requirements])
    done.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {answer.returncode}:\n{answer.stdout}{answer.stderr}")


class Turns:
    """Processes that wait, and of which one at a time is asked for a number.

    Args:
        commands: by name; each answers a line on its input by one line, a number, on its output.
        errors: a folder, for what they write on their second output.
    """

    def __init__(self, commands: Mapping[str, Sequence[str]], errors: Path) -> None:
        self._errors, self._running = {name: errors / f"{number}.txt" for number, name in enumerate(commands)}, {}
        self._stack = contextlib.ExitStack()
        for name, command in commands.items():
            file = self._stack.enter_context(self._errors[name].open("w"))
            pipe = subprocess.PIPE
            process = subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=file, text=True)
            self._running[name] = self._stack.enter_context(process)

    def __enter__(self) -> "Turns":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.terminate()
        self._stack.close()

    def ask(self, name: str, question: str) -> float:
        """A process's answer.

        Raises:
            RuntimeError: it has ended, or said no number.
        """
        process = self._running[name]
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{question}\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        try:
            return float(answer)
        except ValueError:
            raise RuntimeError(f"{name} answered {answer!r}:\n{self._errors[name].read_text()[-4000:]}") from None

    def rounds(self, count: int, question: str) -> Iterator[dict[str, float]]:
        """The answers of all, round by round; those of a first round, which warms up, are left out."""
        for number in range(count + 1):
            answers = {name: self.ask(name, question) for name in self._running}
            if number:
                yield answers
