from pathlib import Path

import pytest

from dltk import catalogue
from dltk.cli import app, listing, terminal
from dltk.errors import DltkError
from tests.cli.conftest import Command

COMMANDS = [
    "list",
    "show",
    "new",
    "validate",
    "debug",
    "train",
    "evaluate",
    "compare",
    "reproduce",
    "predict",
    "sample",
    "words",
    "draw",
    "runs",
    "stop",
    "cancel",
    "sweep",
    "sync",
    "doctor",
    "submit",
    "status",
    "logs",
]


def test_list_json_has_the_stable_form(dltk: Command) -> None:
    said = dltk("list", "--json")
    assert said.code == 0
    assert set(said.json) == {"models", "recipes"}
    assert [set(model) for model in said.json["models"]] == [{"name", "paper", "task", "parameters"}] * len(
        catalogue.MODELS
    )
    assert {m["name"]: m["parameters"] for m in said.json["models"]}["lenet1"] == 2578
    recipes = {recipe["name"]: recipe for recipe in said.json["recipes"]}
    assert {"name", "path", "model", "data", "claim"} <= set(recipes["lenet5_digits"])
    assert recipes["lenet5_digits"]["model"] == "lenet5"
    assert Path(recipes["warp"]["path"]).is_file()


def test_tables_fit_80_columns(dltk: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # tests in several processes have it
    for arguments in (
        ["list"],
        ["show", "lenet5"],
        ["show", "lenet5_digits"],
        ["show", "lenet5", "--settings", "task"],
    ):
        said = dltk(*arguments)
        assert said.code == 0, said.err
        assert max(map(len, said.out.splitlines())) <= 80


def test_a_broken_recipe_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch, dltk: Command) -> None:
    def read(path: Path) -> dict[str, object]:
        if path.stem == "warp":
            raise DltkError(path, "", "is broken")
        return outline(path)

    outline = listing._outline
    monkeypatch.setattr(listing, "_outline", read)
    said = dltk("list", "--json")
    assert "warp.yaml: is broken." in said.err
    assert "warp" not in [recipe["name"] for recipe in said.json["recipes"]]
    assert len(said.json["recipes"]) > 3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command: str, dltk: Command) -> None:
    said = dltk(command, "--help")
    assert said.code == 0
    assert f"dltk {command}" in said.out.split("Example")[1]


def test_all_commands_are_tested() -> None:
    registered = [info.name or info.callback.__name__ for group in app.registered_groups
                  for info in group.typer_instance.registered_commands if not info.hidden]  # fmt: skip
    assert sorted(registered) == sorted(COMMANDS)


def test_help_lists_the_exit_codes(dltk: Command) -> None:
    text = " ".join(dltk("--help").out.split())
    for code in ("0 done", "1 crashed", "2 your mistake", "85 preempted", "86 hung", "130 interrupted"):
        assert code in text


def test_foreign_text_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(terminal.table(["a"], [["[bold]x[/bold] \x1b[31mred\x1b[0m [unk]"]]))
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert "[unk]" in out
    assert "\x1b" not in out


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.emit({"a": [float("nan"), 1.0]})
    assert "NaN" not in capsys.readouterr().out
