"""Signatures read from source, types, and durations."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltk import catalogue, recipe
from dltk.errors import RecipeError
from dltk.recipe.kinds import Duration, Misfit, conform, describe
from dltk.recipe.schema import REQUIRED, Unread, resolve, schema_of


def test_a_constructor(toy: Path) -> None:
    schema = schema_of(f"{toy.name}.things:Net")
    assert schema.title == "Net"
    assert not schema.open
    found = {name: (setting.kind, setting.default, setting.help) for name, setting in schema.settings.items()}
    assert found == {
        "num_classes": (int, REQUIRED, "number of classes."),
        "width": (int, 4, "units of the hidden layer."),
        "act": (Literal["relu", "tanh"], "relu", ""),
        "scale": (float, 1, ""),
        "flag": (bool, False, "a comment behind it"),
        "label": (str, "x", ""),
        "sizes": (list[int], [1, 2], ""),
        "stride": (tuple[int, int], [1, 1], ""),
        "maybe": (int | None, None, ""),
        "time": (Union[Duration, None], None, ""),  # noqa: UP007 - as it is made
        "counts": (dict[str, int] | None, None, ""),
        "layer": (Any, Unread("nn.ReLU"), ""),
    }
    assert toy.name not in sys.modules  # nothing was imported for it


def test_through_imports_and_parents(toy: Path) -> None:
    own = schema_of(f"{toy.name}.things:Net").settings
    assert schema_of(f"{toy.name}:Net").settings == own  # `from .things import *`
    assert schema_of(f"{toy.name}:Renamed").settings == own  # `import Net as Renamed`
    assert schema_of(f"{toy.name}:Child").settings == own
    wider = schema_of(f"{toy.name}:Wider")
    assert set(wider.settings) == {*own, "extra"}
    assert not wider.open
    assert schema_of(f"{toy.name}:Open").open


def test_an_edited_file_is_read_again(toy: Path) -> None:
    (toy / "more.py").write_text("def f(a: int): ...\n")
    assert list(schema_of(f"{toy.name}.more:f").settings) == ["a"]
    (toy / "more.py").write_text("def f(a: int, b: int = 2): ...\n")
    assert list(schema_of(f"{toy.name}.more:f").settings) == ["a", "b"]


def test_what_ast_cannot_read_is_imported(toy: Path) -> None:
    (toy / "made.py").write_text(
        "from functools import partial\ndef f(a: int, b: float = 0.5, *, c: 'str | None' = None): ...\n"
        "g = partial(f, 3)\n"
    )
    schema = schema_of(f"{toy.name}.made:g")
    assert {name: (item.kind, item.default) for name, item in schema.settings.items()} == {
        "b": (float, 0.5),
        "c": (str | None, None),
    }


def test_annotations(toy: Path) -> None:
    (toy / "kinds.py").write_text(
        "import typing as t\nfrom typing import *\nfrom collections.abc import Sequence\nfrom pathlib import Path\n"
        "class C:\n"
        "    def __init__(self, a: Optional[int], b: Union[int, str], c: t.List[float], d: Sequence[str],\n"
        "                 e: Tuple[int, ...], f: Path, g: 'int | list[int]', h, i: Callable[[int], int],\n"
        "                 j: float | Tensor, k: Tensor | None, l: dict, m: Literal['a', 1], n_: int = 2 ** 3): ...\n"
    )
    schema = schema_of(f"{toy.name}.kinds:C").settings
    assert {name: item.kind_text for name, item in schema.items()} == {
        "a": "an integer or null",
        "b": "an integer or text",
        "c": "a list of numbers",
        "d": "a list of texts",
        "e": "a list",
        "f": "text",
        "g": "an integer or a list of integers",
        "h": "any value",
        "i": "any value",
        "j": "a number",
        "k": "any value",
        "l": "a map",
        "m": "one of 'a', 1",
        "n": "an integer",
    }
    assert schema["n"].argument == "n_"
    assert schema["n"].default_text == "2 ** 3"


TARGETS = [
    row.target
    for table in (
        catalogue.MODELS,
        catalogue.TASKS,
        catalogue.DATASETS,
        catalogue.OPTIMIZERS,
        catalogue.SCHEDULES,
        catalogue.TRANSFORMS,
    )
    for row in table.values()
]


@pytest.mark.parametrize("target", sorted(set(TARGETS)))
def test_the_catalogue_is_readable_and_explained(target: str) -> None:
    schema = schema_of(target)
    assert not schema.open
    unexplained = [name for name, item in schema.settings.items() if not item.help and item.argument != "params"]
    assert unexplained == []


@pytest.mark.parametrize("section", ["", "batch", "train", "checkpoint", "log", "launch", "data", "optimizer"])
def test_every_fixed_setting_is_explained(section: str) -> None:
    assert [setting.name for setting in recipe.settings_of(section) if not setting.help] == []


def test_help() -> None:
    assert recipe.help_of("batch.global") == (
        "batch.global: an integer (default required). "
        "samples in one optimiser step over all devices (`global` in a recipe); of text at most"
    )
    assert recipe.help_of("optimizer.momentum", "sgd") == (
        "optimizer.momentum: a number (default 0.0). share of the previous step that is kept."
    )
    with pytest.raises(RecipeError) as caught:
        recipe.help_of("train.epoch")
    assert str(caught.value) == "train.epoch: no setting 'epoch' in train. `dltk show` lists the settings."


def test_schemas_need_no_torch() -> None:
    code = (
        "import sys; from dltk import recipe; [recipe.load(path, check_model=False) for path in recipe.recipes()]; "
        "print({'torch', 'lightning', 'omegaconf', 'numpy'} & set(sys.modules))"
    )
    root = Path(recipe.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_network_check_needs_no_lightning() -> None:
    code = (
        "import sys; from dltk import recipe; [recipe.load(path) for path in recipe.recipes()]; "
        "print({'lightning', 'torchvision', 'torch._dynamo', 'sklearn'} & set(sys.modules))"
    )
    root = Path(recipe.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_resolve(toy: Path) -> None:
    assert resolve(f"{toy.name}:number")() == 3
    with pytest.raises(RecipeError, match=r"has no 'nummber'\. Did you mean 'number'\?"):
        resolve(f"{toy.name}:nummber")
    (toy / "needs.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(RecipeError) as caught:
        resolve(f"{toy.name}.needs:x")
    assert str(caught.value) == (
        f"'{toy.name}.needs:x' cannot be imported: No module named 'a_package_that_is_not_there'. "
        "Install what it needs."
    )


# Types --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (3, int | float, 3),
        (3, float | int, 3),
        (0.5, int | float, 0.5),
        (None, int | None, None),
        ("auto", Union[int, Literal["auto"]], "auto"),  # noqa: UP007
        ([1, 2], list[float], [1.0, 2.0]),
        ([1, "a"], tuple[int, str], [1, "a"]),
        ([1, 2, 3], tuple[int, ...], [1, 2, 3]),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ([[1], []], list[list[int]], [[1], []]),
        ("90m", Duration, "90m"),
        ({"a": [None]}, Any, {"a": [None]}),
    ],
)
def test_conform(value: Any, kind: Any, result: Any) -> None:
    found = conform(value, kind)
    assert found == result
    assert type(found) is type(result)


@given(st.one_of(st.booleans(), st.text(), st.none(), st.lists(st.integers()), st.floats()))
def test_only_integers_are_integers(value: Any) -> None:
    with pytest.raises(Misfit):
        conform(value, int)


@given(st.one_of(st.booleans(), st.text(), st.none()))
def test_only_numbers_are_numbers(value: Any) -> None:
    with pytest.raises(Misfit):
        conform(value, float)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24:00:00", 86400),
        ("0:00:30", 30),
        ("2-12:00", 216000),
        ("1-00:00:01", 86401),
        ("3-4", 3 * 86400 + 4 * 3600),
        ("90m", 5400),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172800),
        ("45s", 45),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration(text).seconds == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "90",
        "1:30",
        "m",
        "1:2:3",
        "1:99:00",
        "1:00:60",
        "1-2:60",
        "1h 30m",
        "30m1h",
        "-1h",
        "1e3s",
        "1.2.3h",
        ".h",
        "٣m",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        Duration(text)


def test_describe() -> None:
    assert describe(int | None) == "an integer or null"
    assert describe(list[Any]) == "a list"
