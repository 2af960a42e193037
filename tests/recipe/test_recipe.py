"""Merging, defaults, references, frozen recipes, comparing, and where the files lie."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dltk import recipe
from dltk.errors import RecipeError
from dltk.launch.opening import as_settings
from dltk.recipe import places
from dltk.run.protocol import KINDS, PUBLISHED, Protocol

Write = Callable[..., str]


def quick(*sources: Any) -> recipe.Recipe:
    return recipe.load(*sources, check_model=False)


@functools.cache
def shipped(path: Path) -> recipe.Recipe:
    """A recipe of the toolkit's own, as it stands there."""
    return quick(path)


# Merging ------------------------------------------------------------------------------------------------------------


def test_sources_merge_left_to_right(write: Write) -> None:
    Path("overlay.yaml").write_text("train: {seed: 1, precision: bf16-mixed}\nlaunch:\n  devices: 2\n")
    loaded = quick(write(), "overlay.yaml", "train.seed=2", {"train": {"seed": 3}, "log": {"tags": ("a", "b")}})
    assert loaded["train"]["seed"] == 3
    assert loaded["train"]["precision"] == "bf16-mixed"
    assert loaded["log"]["tags"] == ["a", "b"]
    origin = {key: place for key, place in loaded.origin.items() if place != "default"}
    assert origin == {
        "model.architecture": "r.yaml:1",
        "model.num_classes": "r.yaml:1",
        "task.loss": "r.yaml:2",
        "data.name": "r.yaml:3",
        "optimizer.name": "r.yaml:4",
        "optimizer.lr": "r.yaml:4",
        "batch.global": "r.yaml:5",
        "train.epochs": "r.yaml:6",
        "train.seed": "settings",
        "train.precision": "overlay.yaml:1",
        "log.tags": "settings",
        "launch.devices": "overlay.yaml:3",
    }


def test_sources_are_left_as_they_were(write: Write) -> None:
    given_settings = {"model": {"sizes": [1]}, "train": {"seed": 3}}
    quick({"train": {"steps": None}}, write(), given_settings, "train.seed=4", "model.sizes=[5]")
    assert given_settings == {"model": {"sizes": [1]}, "train": {"seed": 3}}


def test_every_default_is_filled_in(write: Write) -> None:
    settings = quick(write()).settings
    assert list(settings) == [
        *("name", "model", "task", "data", "optimizer", "schedule", "batch", "train", "checkpoint", "log", "launch"),
        *("site", "claim", "init", "run", "runs_dir", "data_dir"),
    ]
    assert settings["name"] == "r"
    assert settings["model"] == {
        "architecture": "toy",
        "num_classes": 3,
        "width": 4,
        "act": "relu",
        "scale": 1.0,
        "flag": False,
        "label": "x",
        "sizes": [1, 2],
        "stride": [1, 1],
        "maybe": None,
        "time": None,
        "counts": None,
    }  # `layer` has a default that only Python can hold
    assert isinstance(settings["model"]["scale"], float)
    assert settings["task"] == {"name": "labelled", "loss": "soft"}
    assert settings["schedule"] == {"name": "constant", "warmup": 0.0}
    assert settings["data"]["augment"] == "none"
    assert settings["claim"] is None
    assert "kind" not in settings["data"]  # the catalogue's name fixes it


def test_null_takes_a_setting_back(write: Write) -> None:
    assert quick(write(), "train.epochs=null", "train.steps=5")["train"]["steps"] == 5
    assert quick(write(schedule="{name: multistep, milestones: [0.5]}"), "schedule=")["schedule"]["name"] == "constant"


def test_augmentation_by_name_or_map(write: Write) -> None:
    full = {"name": "shake", "strength": 1.0}
    assert quick(write(), "data.augment=shake")["data"]["augment"] == full
    assert quick(write(), "data.augment=shake", "data.augment.strength=2")["data"]["augment"] == full | {
        "strength": 2.0
    }
    assert quick(write(), "data.augment={name: shake}")["data"]["augment"] == full
    assert quick(write(), "data.augment=shake", "data.augment=none")["data"]["augment"] == "none"
    assert quick(write(), "data.augment=shake", "data.augment=null")["data"]["augment"] == "none"


def test_another_choice_leaves_out_what_it_does_not_know(write: Write) -> None:
    file = write(optimizer="{name: sgd, lr: 0.1, momentum: 0.9}")
    loaded = quick(file, "optimizer.name=adam")
    assert loaded["optimizer"]["lr"] == 0.1
    assert "momentum" not in loaded["optimizer"]
    assert loaded.notes == ("r.yaml:4: optimizer.momentum: left out, for adam has no such setting.",)
    with pytest.raises(RecipeError) as caught:
        quick(file, "optimizer.name=adam", "optimizer.momentum=0.5")
    assert str(caught.value).startswith("override 'optimizer.momentum=0.5': no setting 'momentum' in adam.")
    assert quick(file, "optimizer.name=sgd")["optimizer"]["momentum"] == 0.9


# References ---------------------------------------------------------------------------------------------------------


def test_references(write: Write) -> None:
    loaded = quick(write(name="net-${model.num_classes}", runs_dir="${name}/x"), "train.seed=${train.epochs}")
    assert loaded.name == "net-3"
    assert loaded["runs_dir"] == "net-3/x"
    assert loaded["train"]["seed"] == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "train.seed=${train.sed}",
            "'${train.sed}' refers to a setting that is not given. Give that setting, or the value.",
        ),
        ("train.seed=${train.seed}", "'${train.seed}' refers to itself. Write the value."),
        ("model.label=${oc.decode:x}", "'${oc.decode:x}' is no reference. Write ${section.setting}."),
        ("model.label=${${name}:x}", "'${${name}:x}' is no reference. Write ${section.setting}."),
        ("model.label=\\${name}", "'\\${name}' is no reference. Write ${section.setting}."),
        (
            "data_dir=${oc.env:HOME}",
            "'${oc.env:HOME}' takes an environment variable. "
            "Move it to a place overlay: a file in a folder `cluster`, or one with `place: true`.",
        ),
    ],
)
def test_bad_references(write: Write, override: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        quick(write(), override)
    assert str(caught.value) == f"override '{override}': {expected}"


def test_a_run_that_exists_is_told_what_only_a_place_may_say(write: Write, tmp_path: Path) -> None:
    """By `key=value` as well, which is how a job is told; a file must still say that it is a place's."""
    frozen = tmp_path / "recipe.yaml"
    frozen.write_text(recipe.freeze(quick(write())))
    told = "data_dir=${oc.env:HOME}"
    assert recipe.load(frozen, told, check_model=False, going_on=True)["data_dir"] == "${oc.env:HOME}"
    with pytest.raises(RecipeError, match="takes an environment variable"):
        recipe.load(frozen, told, check_model=False)
    with pytest.raises(RecipeError, match="takes an environment variable"):
        recipe.load(frozen, write("other.yaml", data_dir="${oc.env:HOME}"), check_model=False, going_on=True)


PLACE = "place: true\ndata_dir: ${oc.env:DLTK_TEST_DATA}/sets\nlaunch: {threads: '${oc.env:DLTK_TEST_THREADS,2}'}\n"


def test_the_environment_of_a_place(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("site.yaml").write_text(PLACE)
    loaded = quick(write(runs_dir="${data_dir}/runs"), "site.yaml")
    assert loaded["data_dir"] == "${oc.env:DLTK_TEST_DATA}/sets"
    assert loaded["runs_dir"] == "${oc.env:DLTK_TEST_DATA}/sets/runs"
    text = recipe.freeze(loaded)
    assert "${oc.env:DLTK_TEST_DATA}/sets" in text
    Path("frozen.yaml").write_text(text)
    assert quick("frozen.yaml").settings == loaded.settings
    with pytest.raises(RecipeError) as caught:
        recipe.resolve_place(loaded.settings)
    assert str(caught.value) == (
        "runs_dir: environment variable 'DLTK_TEST_DATA' is not set here. "
        "Set it in the job's environment, or give a default: ${oc.env:NAME,default}."
    )
    monkeypatch.setenv("DLTK_TEST_DATA", "/fast")
    resolved = recipe.resolve_place(loaded.settings)
    assert resolved["data_dir"] == "/fast/sets"
    assert resolved["launch"]["threads"] == 2
    assert loaded["launch"]["threads"] == "${oc.env:DLTK_TEST_THREADS,2}"
    monkeypatch.setenv("DLTK_TEST_THREADS", "many")
    with pytest.raises(RecipeError) as caught:
        recipe.resolve_place(loaded.settings)
    assert str(caught.value) == (
        "launch.threads: 'many' is not an integer or null, from the environment. Set the variable to another value."
    )


def test_a_folder_named_cluster_is_a_place(write: Write) -> None:
    write("cluster/site.yaml", data_dir="${oc.env:HOME}")
    assert quick("cluster/site.yaml")["data_dir"] == "${oc.env:HOME}"


# Claims -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", recipe.recipes(), ids=lambda path: path.stem)
def test_a_claim_names_a_protocol_that_there_is(path: Path) -> None:
    claim = quick(path)["claim"]
    protocol = Protocol.read(claim["protocol"]) if claim else None
    assert claim is None or (protocol is not None and protocol.kind in {**KINDS, **PUBLISHED})


# The linear rule ----------------------------------------------------------------------------------------------------


def test_a_factor_makes_batch_and_rates_larger_and_is_gone(write: Write, tmp_path: Path) -> None:
    file = write(
        optimizer="{name: sgd, lr: 0.1, momentum: 0.9, groups: [{match: bias, lr: 0.2}, {match: w, weight_decay: 0.1}]}"
    )
    plain, larger = quick(file), quick(file, "batch.factor=4")
    assert larger["batch"]["global"] == 4 * plain["batch"]["global"]
    assert larger["optimizer"]["lr"] == pytest.approx(0.4)
    assert [group.get("lr") for group in larger["optimizer"]["groups"]] == [pytest.approx(0.8), None]
    assert larger["optimizer"]["momentum"] == 0.9
    assert "factor" not in larger["batch"]
    frozen = tmp_path / "frozen.yaml"
    frozen.write_text(recipe.freeze(larger))
    assert quick(frozen)["batch"]["global"] == larger["batch"]["global"], "nothing is multiplied twice"


def test_large_batch_is_laid_over_a_recipe() -> None:
    plain, larger = (recipe.load("alexnet_imagenet2012", *more, check_model=False) for more in ((), ("large_batch",)))
    assert (plain["batch"]["global"], larger["batch"]["global"]) == (128, 1024)
    assert (plain["optimizer"]["lr"], larger["optimizer"]["lr"]) == (0.01, pytest.approx(0.08))
    assert (plain["schedule"]["warmup"], larger["schedule"]["warmup"]) == (0.0, 0.06)
    changed = {key for key, _, _ in recipe.difference(plain.settings, larger.settings)}
    assert changed == {"batch.global", "optimizer.lr", "schedule.warmup"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch.factor=0"], "0 cannot multiply batch.global 8. Write both as numbers of at least 1."),
        (["batch.factor=-2"], "-2 cannot multiply batch.global 8. Write both as numbers of at least 1."),
        (
            ["batch.factor=2", "train.epochs=null", "train.steps=9"],
            "2 makes a step larger, and train.steps counts steps. Give train.epochs instead.",
        ),
    ],
)
def test_impossible_factors(overrides: list[str], message: str, write: Write) -> None:
    with pytest.raises(RecipeError) as caught:
        quick(write(), *overrides)
    assert str(caught.value) == f"override '{overrides[0]}': {message}"


# Frozen recipes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["apptainer", "exec", "image.sif"]])
def test_a_wrapper_that_an_earlier_dltk_froze_is_a_container_now(write: Write, command: list[str]) -> None:
    container = {"launch": {"container": {"kind": "wrapper", "command": command}}} if command else {}
    wanted = quick(write(), container).settings
    text = recipe.freeze(quick(write()))
    earlier = text.replace("\nsite:\n", f"\nsite:\n  wrapper: {json.dumps(command)}\n", 1)
    assert earlier != text
    Path("frozen.yaml").write_text(earlier)
    assert recipe.difference(recipe.thaw("frozen.yaml").settings, wanted) == []
    assert recipe.difference(quick("frozen.yaml").settings, wanted) == []


IMAGE = {"kind": "pyxis", "image": "/images/torch.sqsh", "mounts": [], "home": False, "command": []}
WRAPPER = {"kind": "wrapper", "image": None, "mounts": [], "home": False, "command": ["apptainer", "exec", "b.sif"]}


@pytest.mark.parametrize(("given", "container"), [
    ("null", None),
    ("{kind: pyxis, image: /images/torch.sqsh}", IMAGE),
    ("{kind: wrapper, command: [apptainer, exec, b.sif]}", WRAPPER),
    ("{command: [apptainer, exec, b.sif]}", WRAPPER),
])  # fmt: skip
def test_another_container_is_another_value(given: str, container: Any, write: Write) -> None:
    """A frozen one leaves nothing behind in it, and a change of it can be said to a process."""
    first = {"launch": {"container": {"kind": "wrapper", "command": ["apptainer", "exec", "a.sif"]}}}
    Path("frozen.yaml").write_text(recipe.freeze(quick(write(), first)))
    wanted = quick("frozen.yaml", f"launch.container={given}")
    assert wanted["launch"]["container"] == container
    frozen = recipe.thaw("frozen.yaml").settings
    changes = {key: value for key, _, value in recipe.changed(frozen, wanted)}
    assert changes == {"launch.container": container}
    assert recipe.with_changes(frozen, changes) == wanted.settings
    assert quick("frozen.yaml", *as_settings(changes)).settings == wanted.settings


def test_a_frozen_recipe_loads_to_the_same(write: Write) -> None:
    loaded = quick(
        write(
            data="{name: flags, augment: {name: shake, strength: 0.5}}",
            init="[{from: runs/x, map: {a.b: c.d}, freeze: ['^a']}]",
        ),
        "run=no",
        "model.time=24:00:00",
        "model.label='010'",
    )
    Path("frozen.yaml").write_text(recipe.freeze(loaded))
    thawed = recipe.thaw("frozen.yaml")
    assert thawed.settings == loaded.settings
    assert thawed.name == "r"
    assert quick("frozen.yaml").settings == loaded.settings
    assert thawed.origin["model.label"].startswith("frozen.yaml:")
    assert recipe.freeze(thawed) == recipe.freeze(loaded)


def test_frozen_recipes_of_all_that_is_shipped(tmp_path: Path) -> None:
    assert recipe.recipes()
    for path in recipe.recipes():
        loaded = shipped(path)
        (tmp_path / "recipe.yaml").write_text(recipe.freeze(loaded))
        assert recipe.thaw(tmp_path / "recipe.yaml").settings == loaded.settings
        assert quick(tmp_path / "recipe.yaml").settings == loaded.settings
        assert loaded.notes == ()


PLACES = [path for path in recipe.overlays() if path.stem not in ("large_batch", "modern_text")]


@pytest.mark.parametrize("place", PLACES, ids=lambda path: path.stem)
def test_a_place_changes_no_result_of_any_recipe(place: Path) -> None:
    for path in recipe.recipes():
        alone, there = shipped(path), quick(path, place)
        changed = [key for key, _, _ in recipe.difference(alone.settings, there.settings)]
        assert all(map(recipe.harmless, changed)), path
        assert there.notes == ()


def test_a_large_batch_fits_every_recipe_that_steps_by_epochs() -> None:
    larger = recipe.find("large_batch")
    for path in recipe.recipes():
        plain = shipped(path)
        if not plain["optimizer"] or plain["train"]["epochs"] is None:
            with pytest.raises(RecipeError):
                quick(path, larger)
            continue
        assert quick(path, larger)["batch"]["global"] == 8 * plain["batch"]["global"], path


MODERN = {"model.dropout": 0.2, "task.mean": "tokens", "task.label_smoothing": 0.1, "train.precision": "bf16-mixed"}
MODERN |= {"optimizer.name": "adam", "optimizer.lr": 0.001, "optimizer.eps": 1e-8, "train.clip_norm": 1.0}
MODERN |= {"schedule.name": "cosine", "schedule.warmup": 0.02, "schedule.floor": 0.0}


def test_modern_training_fits_every_translator_and_no_other_recipe() -> None:
    modern, fitting = recipe.find("modern_text"), []
    for path in recipe.recipes():
        plain = shipped(path)
        if plain["task"]["name"] != "translation":
            with pytest.raises(RecipeError, match=r"modern_text.yaml.*no setting"):
                quick(path, modern)
            continue
        changed = recipe.difference(plain.settings, quick(path, modern).settings)
        own = ("optimizer.", "schedule.", "train.clip_value")  # the recipe's, which Adam and the cosine have not
        assert {key: new for key, _, new in changed if key in MODERN}.items() <= MODERN.items(), path
        assert all(key in MODERN or key.startswith(own) for key, _, _ in changed), path
        fitting.append(path.stem)
    assert len(fitting) >= 11


def test_modern_training_takes_a_step() -> None:
    from dltk.assemble import build

    for name, more in (
        ("rnnsearch", ()),
        ("seq2seq", ()),
        ("rnnencdec", ()),
        ("large_vocab", ("task.label_smoothing=0",)),
    ):
        task, data = build(f"{name}_number_names", "modern_text", "data.pairs=600", "data.workers=0", *more)
        optimizer = task.procedure.optimizer(task.model)
        with torch.autocast("cpu", torch.bfloat16):
            measures = task.measure(next(iter(data.train_dataloader())))
        assert measures["loss"].isfinite()
        measures["loss"].backward()
        optimizer.step()


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))


@given(st.dictionaries(words, values, max_size=4))
def test_freeze_and_thaw(tmp_path_factory: pytest.TempPathFactory, model: dict[str, Any]) -> None:
    file = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    frozen = recipe.Recipe("any", {"name": "any", "model": model})
    file.write_text(recipe.freeze(frozen), encoding="utf-8", newline="")
    thawed = recipe.thaw(file)
    assert thawed.settings == frozen.settings
    assert recipe.difference(frozen.settings, thawed.settings) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: {}", "x.yaml: this is not a frozen recipe. Use `dltk train` with the recipe itself."),
        ("- 1", "x.yaml: this is not a frozen recipe. Use `dltk train` with the recipe itself."),
        ("format: 2\nname: a\nmodel: {}", "x.yaml:1: format: not the format 1 that this dltk reads. Update dltk."),
    ],
)
def test_what_cannot_be_thawed(toy: Path, text: str, expected: str) -> None:
    Path("x.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        recipe.thaw("x.yaml")
    assert str(caught.value) == expected


def test_thaw_of_nothing(toy: Path) -> None:
    with pytest.raises(RecipeError, match=r"^x.yaml: cannot be read: .* Name a run folder's recipe.yaml\.$"):
        recipe.thaw("x.yaml")


# Comparing ----------------------------------------------------------------------------------------------------------


def test_difference() -> None:
    old = {"a": {"b": 1, "c": [1], "same": 0}, "d": 1, "e": True}
    new = {"a": {"b": 2, "c": [1, 2], "same": 0}, "f": {"g": 3}, "d": 1.0, "e": 1}
    assert recipe.difference(old, new) == [
        ("a.b", 1, 2),
        ("a.c", [1], [1, 2]),
        ("d", 1, 1.0),
        ("e", True, 1),
        ("f.g", None, 3),
    ]


def test_hash(write: Write) -> None:
    def hashed(*overrides: str) -> str:
        return recipe.recipe_hash(quick(write(), *overrides).settings)

    assert len(hashed()) == 16
    for harmless in (
        "train.seed=5",
        "run=x",
        "log.every_steps=1",
        "batch.micro=4",
        "data.workers=2",
        "launch.devices=2",
    ):
        assert hashed(harmless) == hashed()
    for other in ("train.epochs=3", "optimizer.lr=0.2", "model.width=5", "data.augment=shake", "batch.global=16"):
        assert hashed(other) != hashed()
    assert hashed("optimizer.lr=1") == hashed("optimizer.lr=1.0")
    assert recipe.recipe_hash({"a": 1, "b": 2}, without=["b"]) == recipe.recipe_hash({"a": 1}, without=[])


def test_harmless() -> None:
    assert recipe.harmless("log.every_steps")
    assert recipe.harmless("run")
    assert not recipe.harmless("train.seed")
    assert not recipe.harmless("running")


# Anything at all ----------------------------------------------------------------------------------------------------

SETTINGS = [
    *("model", "task", "data", "optimizer", "schedule", "batch", "train", "checkpoint", "log", "launch", "init"),
    *("model.architecture", "model.stride", "data.augment", "data.augment.name", "optimizer.groups", "batch.micro"),
    *("train.epochs", "launch.devices", "task.name", "data.name", "run", "name", "init.x", "optimizer.name.x"),
]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(SETTINGS), values), min_size=1, max_size=3))
def test_nonsense_is_a_recipe_error(write: Write, sources: list[tuple[str, Any]]) -> None:
    layers = []
    for key, value in sources:
        for name in reversed(key.split(".")):
            value = {name: value}
        layers.append(value)
    try:
        loaded = quick(write(), *layers)
    except RecipeError as error:
        assert str(error)  # noqa: PT017 - either is right
    else:
        Path("frozen.yaml").write_text(recipe.freeze(loaded))
        assert quick("frozen.yaml").settings == loaded.settings


# Files --------------------------------------------------------------------------------------------------------------


def test_shipped_files_are_found_by_name(toy: Path) -> None:
    path = recipe.find("lenet5_digits")
    assert path == recipe.find("recipes/lenet5_digits.yaml") == recipe.find("lenet5_digits.yaml")
    assert path in recipe.recipes()
    Path("lenet5_digits.yaml").write_text("name: mine\n")
    assert recipe.find("lenet5_digits.yaml") == Path("lenet5_digits.yaml")


def test_shipped_files_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "dltk"
    for name in ("recipes/one.yaml", "cluster/ddp.yaml"):
        file = package / "shipped" / name
        file.parent.mkdir(parents=True)
        file.write_text("")
    monkeypatch.setattr(places, "__file__", str(package / "recipe" / "places.py"))
    monkeypatch.chdir(tmp_path)
    assert recipe.recipes() == [package / "shipped/recipes/one.yaml"]
    assert recipe.overlays() == [package / "shipped/cluster/ddp.yaml"]
    assert recipe.find("cluster/ddp.yaml") == recipe.find("ddp") == package / "shipped/cluster/ddp.yaml"
