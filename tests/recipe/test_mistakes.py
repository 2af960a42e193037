"""Every class of mistake, with the whole message."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dltk import catalogue, recipe
from dltk.errors import RecipeError

Write = Callable[..., str]

ARCHITECTURES = "Choices: toy, lazy, tiny, kernel, or package.module:Name."
OPTIMIZERS = "Choices: sgd, rmsprop, adagrad, adadelta, adam, adamw, or package.module:Name."
NAMES = "Use letters, digits and . _ + = , - only; begin with a letter or digit."
PRECISIONS = "Choices: '32-true', 'bf16-mixed', '16-mixed'."


def message(*sources: object, check_model: bool = False) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe.load(*sources, check_model=check_model)  # type: ignore[arg-type]
    return str(caught.value)


# An override, and what is said of it; a file says the same of the same value, after its line and key.
UNKNOWN = {
    "trian=3": "no setting or section 'trian'. Did you mean 'train'?",
    "lr=0.1": "no setting or section 'lr'. Did you mean 'optimizer.lr'?",
    "train.epoch=3": "no setting 'epoch' in train. Did you mean 'epochs'?",
    "train.momentum=3": "no setting 'momentum' in train. Did you mean 'optimizer.momentum'?",
    "batch.size=3": "no setting 'size' in batch. Choices: global, tokens, micro, accumulate, factor.",
    "checkpoint.evry_steps=3": "no setting 'evry_steps' in checkpoint. Did you mean 'every_steps'?",
    "log.wanb=auto": "no setting 'wanb' in log. Did you mean 'wandb'?",
    "launch.device=1": "no setting 'device' in launch. Did you mean 'devices'?",
    "model.num_clases=3": "no setting 'num_clases' in Net. Did you mean 'num_classes'?",
    "model.self=3": "no setting 'self' in Net. "
    "Choices: num_classes, width, act, scale, flag, label, sizes, stride, maybe, time, counts, layer.",
    "task.los=hard": "no setting 'los' in Labelled. Did you mean 'loss'?",
    "task.qqq=hard": "no setting 'qqq' in Labelled. Choices: loss.",
    "task.procedure=hard": "no setting 'procedure' in Labelled. Choices: loss.",
    "data.image_sise=4": "no setting 'image_sise' in Flags. Did you mean 'image_size'?",
    "data.worker=4": "no setting 'worker' in Flags. Did you mean 'workers'?",
    "optimizer.momentun=0.9": "no setting 'momentun' in sgd. Did you mean 'momentum'?",
    "optimizer.params=1": "no setting 'params' in sgd. Choices: groups, lr, momentum, weight_decay, nesterov, "
    "velocity.",
    "schedule.fator=1": "no setting 'fator' in MultiStep. Did you mean 'factor'?",
    "data.augment.strenght=1": "no setting 'strenght' in Shake. Did you mean 'strength'?",
    "init=[{form: x}]": None,
}

WRONG = {
    # types
    "train.epochs=many": "'many' is not an integer or null. Write an integer.",
    "train.epochs=1e1": "10.0 is not an integer or null. Write 10.",
    "train.epochs=true": "true is not an integer or null. Write an integer.",
    "train.epochs='3'": "'3' is not an integer or null. Write 3, without quotes.",
    "train.epochs=1_000": "'1_000' is not an integer or null. Write 1000, without underscores.",
    "train.seed=null": "null is not an integer. Write an integer.",
    "train.seed=[1]": "[1] is not an integer. Write an integer.",
    "train.compile=yes": "'yes' is not true or false. Write true or false.",
    "train.compile=1": "1 is not true or false. Write true or false.",
    "model.scale=big": "'big' is not a number. Write a number.",
    "model.scale=false": "false is not a number. Write a number.",
    "model.scale=.nan": "nan is not a number. Write a number.",
    "model.scale='0.5'": "'0.5' is not a number. Write 0.5, without quotes.",
    "model.label=2012": "2012 is not text. Put it in quotes: '2012'.",
    "model.label=true": "true is not text. Put it in quotes: 'true'.",
    "model.sizes=3": "3 is not a list of integers. Write [3].",
    "model.maybe=0.5": "0.5 is not an integer or null. Write an integer.",
    "model.stride=[1, 2, 3]": "[1, 2, 3] has 3 values, 2 are needed.",
    "model.time=90": "90 is not a duration or null. Write it like 24:00:00, 2-12:00 or 90m.",
    "model.time=1:30": "'1:30' is not a duration or null. Write it like 24:00:00, 2-12:00 or 90m.",
    "launch.devices=all": "'all' is not an integer or 'auto'. Write an integer.",
    # choices
    "train.precision=16-mixd": f"'16-mixd' is not a choice. Did you mean '16-mixed'? {PRECISIONS}",
    "train.precision=16": f"16 is not a choice. {PRECISIONS}",
    "model.act=rleu": "'rleu' is not a choice. Did you mean 'relu'? Choices: 'relu', 'tanh'.",
    "task.loss=hrad": "'hrad' is not a choice. Did you mean 'hard'? Choices: 'soft', 'hard'.",
    # names
    "model.architecture=tpy": f"no architecture 'tpy'. Did you mean 'toy'? {ARCHITECTURES}",
    "model.architecture=3": "3 is not text. Give a name. Choices: toy, lazy, tiny, kernel.",
    "task.name=lebelled": "no task 'lebelled'. Did you mean 'labelled'? "
    "Choices: labelled, regression, fit, or package.module:Name.",
    "data.name=flag": "no data set 'flag'. Did you mean 'flags'? "
    "Choices: flags, words, values, or package.module:Name.",
    "optimizer.name=adm": f"no optimiser 'adm'. Did you mean 'adam'? {OPTIMIZERS}",
    "schedule.name=zzz": "no schedule 'zzz'. "
    "Choices: constant, step, multistep, plateau, inverse_sqrt, cosine, or package.module:Name.",
    "data.augment.name=shook": "no transform 'shook'. Did you mean 'shake'? Choices: shake, or package.module:Name.",
    # sections
    "train=3": "3 is not a section. Write `train: {…}`.",
    "model=toy": "'toy' is not a section. Write `model: {architecture: toy}`.",
    "data=flags": "'flags' is not a section. Write `data: {name: flags}`.",
    "task=[soft]": "['soft'] is not a section. Write `task: {name: NAME}`.",
    "run=a/b": f"'a/b' cannot name a folder. {NAMES}",
    'run="a\\nb"': f"'a\nb' cannot name a folder. {NAMES}",
    "name=../x": f"'../x' cannot name a folder. {NAMES}",
    # numbers out of range
    "optimizer.lr=-0.1": "-0.1 is too small. Set at least 0.",
    "optimizer.lr=.inf": "inf is not finite. Set at least 0.",
    "optimizer.momentum=2": "2.0 is too large. Set at least 0 and less than 1.",
    "optimizer.weight_decay=-1": "-1.0 is too small. Set at least 0.",
    "data.workers=-2": "-2 is too small. Set at least 0.",
    "data.max_bad=-2": "-2 is too small. Set at least 0.",
    "data.eval_batch=0": "0 is too small. Set at least 1.",
    "train.ema=3": "3.0 is too large. Set more than 0 and less than 1.",
    "train.ema=0": "0.0 is too small. Set more than 0 and less than 1.",
    "train.seed=-1": "-1 is too small. Set at least 0 and less than 9223372036854775808.",
    "train.clip_norm=-1": "-1.0 is too small. Set more than 0.",
    "train.clip_value=0": "0.0 is too small. Set more than 0.",
    "checkpoint.every_minutes=-1": "-1.0 is too small. Set at least 0.",
    "checkpoint.keep_last=0": "0 is too small. Set at least 1.",
    "checkpoint.keep_best=-1": "-1 is too small. Set at least 0.",
    "launch.tensor=0": "0 is too small. Set at least 1.",
    "launch.threads=0": "0 is too small. Set at least 1.",
    # metrics
    "checkpoint.monitor=val/eror": "'val/eror' is not measured. Did you mean 'val/error'? "
    "Choices: val/loss, val/error.",
    "checkpoint.monitor=error": "'error' does not begin with 'val/', the part that chooses is val. Write val/error.",
    "checkpoint.monitor=test/error": "'test/error' does not begin with 'val/', the part that chooses is val. "
    "Write val/error.",
    # contradictions
    "optimizer.nesterov=true": "nesterov looks ahead along the momentum, which is 0. "
    "Set momentum above 0, or nesterov to false.",
    "batch.global=0": "0 is too small. Set at least 1.",
    "train.epochs=-1": "-1 is too small. Set at least 1.",
    "train.steps=5": "5 given beside train.epochs 2 (r.yaml:6). Remove one of them, or set it to null.",
    "batch.micro=3": "batch.global 8 is no multiple of 3. Set it to 2, or change batch.global.",
    "model.num_classes=5": "5 asked, data set 'flags' has 3 classes. Set it to 3, or choose other data.",
    "task.name=regression": "'regression' does not train architecture 'toy'. Set it to 'labelled', or remove it.",
    "data.name=words": "'words' has source, target; task 'labelled' needs image. Data sets that fit: flags.",
}


def nested(override: str) -> tuple[str, str]:
    """The same setting as a line of YAML: `a.b=c` as key `a.b` and text `a: {b: c}`."""
    key, value = override.split("=", 1)
    first, *rest = key.split(".")
    for name in reversed(rest):
        value = f"{{{name}: {value}}}"
    return key, f"{first}: {value}\n"


@pytest.fixture
def full(write: Write, monkeypatch: pytest.MonkeyPatch) -> str:
    row = replace(catalogue.TASKS["labelled"], metrics=("loss", "error"))
    monkeypatch.setitem(catalogue.TASKS, "labelled", row)
    return write(
        checkpoint="{monitor: val/error}",
        data="{name: flags, augment: shake}",
        schedule="{name: multistep, milestones: [0.5]}",
        log="{every_steps: 5}",
    )


@pytest.mark.parametrize(("override", "expected"), {**UNKNOWN, **WRONG}.items())
def test_override(full: str, override: str, expected: str | None) -> None:
    expected = expected or "init.0.form: no setting 'form' in InitConfig. Did you mean 'from'?"
    assert message(full, override) == f"override '{override}': {expected}"


@pytest.mark.parametrize(("override", "expected"), {**UNKNOWN, **WRONG}.items())
def test_file(full: str, override: str, expected: str | None) -> None:
    key, line = nested(override)
    Path("overlay.yaml").write_text("# an overlay\n\n" + line)
    expected = (
        f"{key}: {expected}" if expected else "init.0.form: no setting 'form' in InitConfig. Did you mean 'from'?"
    )
    assert message(full, "overlay.yaml") == f"overlay.yaml:3: {expected}"


def test_inside_lists_and_maps(write: Write) -> None:
    assert message(write(model="{architecture: toy, num_classes: 3,\n  sizes: [1, 2,\n    no]}")) == (
        "r.yaml:3: model.sizes.2: 'no' is not an integer. Write an integer."
    )
    assert message(write(), "model.counts={a: 1, b: x}") == (
        "override 'model.counts={a: 1, b: x}': model.counts.b: 'x' is not an integer. Write an integer."
    )


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("model", "r.yaml: model: this section is missing. Add `model: {architecture: NAME}`; see `dltk list`."),
        ("data", "r.yaml: data: this section is missing. Add `data: {name: NAME}`; see `dltk list`."),
        ("optimizer", "r.yaml: optimizer: this section is missing. Add `optimizer: {name: sgd, lr: NUMBER}`."),
        ("batch", "r.yaml: batch.global: this setting is missing, batch needs it. Add `global`, an integer."),
        ("train", "r.yaml: train: it says neither epochs nor steps. Add one of them."),
    ],
)
def test_missing_section(write: Write, section: str, expected: str) -> None:
    assert message(write(**{section: None})) == expected
    nulled = expected.removeprefix("r.yaml: ")
    nulled = nulled if section == "batch" else nulled.removeprefix(f"{section}: ")
    assert message(write(), f"{section}=null") == f"override '{section}=null': {nulled}"


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            {"model": "{architecture: toy}"},
            "r.yaml:1: model.num_classes: this setting is missing, Net needs it. Add `num_classes`, an integer.",
        ),
        (
            {"optimizer": "{name: sgd}"},
            "r.yaml:4: optimizer.lr: this setting is missing, sgd needs it. Add `lr`, a number.",
        ),
        (
            {"model": "{num_classes: 3}"},
            "r.yaml:1: model.architecture: this setting is missing. Add it. Choices: toy, lazy, tiny, kernel.",
        ),
        (
            {"model": "{architectur: toy}"},
            "r.yaml:1: model.architectur: no setting 'architectur' in model. Did you mean 'architecture'?",
        ),
        (
            {"init": "[{map: {}}]"},
            "r.yaml:7: init.0.from: this setting is missing, InitConfig needs it. Add `from`, text.",
        ),
        ({"train": "{}"}, "r.yaml:6: train: it says neither epochs nor steps. Add one of them."),
    ],
)
def test_missing_setting(write: Write, sections: dict[str, str], expected: str) -> None:
    assert message(write(**sections)) == expected


# Files --------------------------------------------------------------------------------------------------------------


def test_missing_file(toy: Path) -> None:
    assert message("nothing_at_all.yaml") == (
        "nothing_at_all.yaml: no such file, and no shipped recipe or overlay of this name. "
        "`dltk list` shows the recipes."
    )
    assert message("lenet5_digit") == (
        "lenet5_digit: no such file, and no shipped recipe or overlay of this name. Did you mean 'lenet5_digits'?"
    )
    Path("folder").mkdir()
    assert message("folder") == "folder: is a folder, a recipe is a file. Name the YAML file in it."
    assert message("a b=3") == ("a b=3: is neither a file nor an override. Write an override as section.setting=value.")


def test_bad_files(toy: Path) -> None:
    Path("r.yaml").write_bytes(b"name: \xff\n")
    assert message("r.yaml") == "r.yaml: is not UTF-8 text. Give a YAML file."
    Path("r.yaml").write_text("- a\n")
    assert message("r.yaml") == "r.yaml:1: YAML: a recipe is a map of sections. Write it like `model: {…}`."
    Path("r.yaml").write_text("train:\n  epochs: 1\n  epochs: 2\n")
    assert message("r.yaml") == "r.yaml:3: train.epochs: 'epochs' stands twice, first in line 2. Remove one of them."
    Path("r.yaml").write_text("train:\n  epochs: 1\n seed: 2\n")
    assert message("r.yaml") == (
        "r.yaml:3: YAML: expected <block end>, but found '<block mapping start>' (while parsing a block mapping). "
        "Check the indentation, the colons and the quotes here and in the line above."
    )
    Path("r.yaml").write_text("format: 2\nname: x\n")
    assert message("r.yaml") == "r.yaml:1: format: 2 is newer than 1, which this dltk reads. Update dltk."
    Path("r.yaml").write_text("")
    assert message("r.yaml") == (
        "r.yaml: model: this section is missing. Add `model: {architecture: NAME}`; see `dltk list`."
    )


def test_nothing_but_overrides(toy: Path) -> None:
    assert (
        message({}) == "settings: model: this section is missing. Add `model: {architecture: NAME}`; see `dltk list`."
    )


def test_a_value_that_is_not_plain(toy: Path) -> None:
    assert message({"train": {"seed": 3j}}) == "settings: train.seed: 3j is a complex. Give plain Python values."


# Contradictions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["batch.micro=4", "batch.accumulate=2"],
            "override 'batch.accumulate=2': 2 given beside batch.micro 4 (override 'batch.micro=4'). "
            "Remove one of them, or set it to null; it follows from the other.",
        ),
        (
            ["launch.devices=4", "batch.micro=4"],
            "override 'batch.micro=4': batch.global 8 is no multiple of 4 on 4 devices. "
            "Set it to 2, or change batch.global.",
        ),
        (
            ["launch.devices=3", "batch.micro=2"],
            "override 'batch.micro=2': batch.global 8 is no multiple of 2 on 3 devices. "
            "Change batch.global or launch.devices.",
        ),
        (["launch.devices=16"], "r.yaml:5: batch.global: 8 samples are too few on 16 devices. Set at least 16."),
        (
            ["launch.devices=2", "batch.accumulate=8"],
            "r.yaml:5: batch.global: 8 samples are too few on 2 devices in 8 passes. Set at least 16.",
        ),
        (
            ["launch.tensor=2", "launch.devices=3"],
            "override 'launch.tensor=2': 2 given, and 3 processes are no multiple of it. Change it, or launch.devices.",
        ),
        (
            ["launch.tensor=2", "train.compile=true"],
            "override 'train.compile=true': true given, and a compiled network does not send what its "
            "layers share (launch.tensor 2). Set it to false, or launch.tensor to 1.",
        ),
        (
            ["launch.tensor=2", "train.precision=16-mixed"],
            "override 'train.precision=16-mixed': 16-mixed scales the loss, and the processes that "
            "share layers (launch.tensor 2) do not agree on it. Set it to bf16-mixed, or launch.tensor to 1.",
        ),
        (
            ["launch.tensor=2", "launch.strategy=fsdp2"],
            "override 'launch.tensor=2': 2 given, which is a way of DDP's, beside launch.strategy fsdp2. "
            "Remove it, or set launch.strategy to ddp.",
        ),
        (
            ["launch.pipeline=4", "launch.devices=6"],
            "override 'launch.pipeline=4': 4 given, and 6 processes are no multiple of it. "
            "Change it, or launch.devices.",
        ),
        (
            ["launch.pipeline=2", "train.precision=16-mixed"],
            "override 'train.precision=16-mixed': 16-mixed scales the loss, and the processes that "
            "have a layer each (launch.pipeline 2) do not agree on it. Set it to bf16-mixed, or launch.pipeline to 1.",
        ),
        (
            ["launch.pipeline=2", "launch.strategy=deepspeed-1"],
            "override 'launch.pipeline=2': 2 given, which is a way of DDP's, beside launch.strategy deepspeed-1. "
            "Remove it, or set launch.strategy to ddp.",
        ),
        (
            ["launch.pipeline=2", "launch.tensor=2"],
            "override 'launch.tensor=2': 2 given beside launch.pipeline 2, which has no use of it. Remove one of them.",
        ),
        (
            ["launch.tensor_plan=groups"],
            "override 'launch.tensor_plan=groups': groups given, and one process (launch.tensor 1) shares nothing. "
            "Set launch.tensor to the number of groups, or remove it.",
        ),
        (["train.epochs=null"], "r.yaml:6: train: it says neither epochs nor steps. Add one of them."),
    ],
)
def test_contradictions(write: Write, overrides: list[str], expected: str) -> None:
    assert message(write(), *overrides) == expected


def test_a_thing_without_settings(write: Write) -> None:
    file = write(model="{architecture: kernel, num_classes: 3}")
    assert message(file) == "r.yaml:2: task.loss: no setting 'loss' in Fit. It has none."


def test_fitted_at_once_has_no_optimizer(write: Write) -> None:
    file = write(model="{architecture: kernel, num_classes: 3}", task=None)
    assert message(file) == "r.yaml:3: optimizer: task 'fit' has none: it fits at once. Remove the section."
    assert message(file, "optimizer=null") == (
        "r.yaml:5: train.epochs: 2 given, task 'fit' fits at once, in one epoch. Set it to 1."
    )
    assert message(file, "optimizer=null", "train={epochs: null, steps: 3}") == (
        "override 'train={epochs: null, steps: 3}': train.steps: 3 given, task 'fit' fits at once, in one epoch. "
        "Remove it, and set train.epochs to 1."
    )
    settings = recipe.load(file, "optimizer=null", "train.epochs=1", check_model=False).settings
    assert settings["task"] == {"name": "fit"}
    assert settings["optimizer"] is None
    assert settings["schedule"] is None


def test_a_task_for_other_data(write: Write) -> None:
    found = message(write(model="{architecture: tiny, num_classes: 3}", task=None))
    assert found == (
        "r.yaml:2: data.name: 'flags' has image, target; task 'regression' needs value. Data sets that fit: values."
    )


# Other packages -----------------------------------------------------------------------------------------------------


def test_an_architecture_of_another_package(toy: Path, write: Write) -> None:
    target = f"{toy.name}.things:Net"
    good = {"model": f"{{architecture: '{target}', num_classes: 3}}", "task": "{name: labelled}"}
    assert recipe.load(write(**good)).settings["model"]["width"] == 4
    assert message(write(**good), "model.widht=3") == (
        "override 'model.widht=3': no setting 'widht' in Net. Did you mean 'width'?"
    )
    assert message(write(**{**good, "task": "{loss: soft}"})) == (
        f"r.yaml:2: task.name: this setting is missing, and '{target}' implies none. "
        "Add `task: {name: NAME}`. Choices: labelled, regression, fit."
    )


def test_an_architecture_that_is_not_there(toy: Path, write: Write) -> None:
    task = "{name: labelled}"
    assert message(write(model="{architecture: 'no_such_package.mod:Net'}", task=task)) == (
        "r.yaml:1: model.architecture: there is no module 'no_such_package.mod'. "
        "Check the name, install its package, or start dltk in the folder that holds it."
    )
    assert message(write(model=f"{{architecture: '{toy.name}.things:Nett'}}", task=task)) == (
        f"r.yaml:1: model.architecture: module '{toy.name}.things' has no 'Nett'. Did you mean 'Net'?"
    )
    assert message(write(model="{architecture: 'a b:Net'}", task=task)) == (
        "r.yaml:1: model.architecture: 'a b:Net' is no 'package.module:Name'. "
        "Write it like 'my_package.my_module:MyNet'."
    )
    (toy / "broken.py").write_text("class Net:\n    def (self)\n")
    found = message(write(model=f"{{architecture: '{toy.name}.broken:Net'}}", task=task))
    assert found == f"{toy}/broken.py:2: Python: invalid syntax. Mend the file."


def test_many_choices_are_not_listed(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    row = catalogue.MODELS["toy"]
    monkeypatch.setattr(catalogue, "MODELS", {f"net{i:02}": row for i in range(13)})
    assert message(write(model="{architecture: zzz}")) == (
        "r.yaml:1: model.architecture: no architecture 'zzz'. `dltk list` shows them, or package.module:Name."
    )


# What only the constructors know ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model.width=101"],
            "override 'model.width=101': width is 101, too wide for this test. Set at most 100.",
        ),
        (["model.label=bad type"], "override 'model.label=bad type': label has a bad type."),
        (
            ["data.augment={name: shake, strength: -1}"],
            "override 'data.augment={name: shake, strength: -1}': data.augment.strength: strength is -1.0. "
            "Set 0 or more.",
        ),
        (
            ["schedule={name: multistep, milestones: [0.5, 0.1]}"],
            "override 'schedule={name: multistep, milestones: [0.5, 0.1]}': schedule.milestones: "
            "milestones are [0.5, 0.1]. Write them in rising order.",
        ),
        (
            ["optimizer.groups=[{match: nothing}]"],
            "override 'optimizer.groups=[{match: nothing}]': no parameter's name matches 'nothing'. "
            "`dltk show` lists the names.",
        ),
        (
            ["data.image_size=8"],
            "override 'data.image_size=8': its images are 1 x 8 x 8, 'toy' takes 1 x 4 x 4. Set data.image_size to 4.",
        ),
    ],
)
def test_made_on_the_meta_device(write: Write, overrides: list[str], expected: str) -> None:
    assert message(write(), *overrides, check_model=True) == expected


def test_an_imagined_image(write: Write) -> None:
    file = write(model="{architecture: lazy}")
    assert recipe.load(file).notes == ()
    assert message(file, "data.image_size=5", check_model=True) == (
        "override 'data.image_size=5': images of 1 x 5 x 5 do not pass through the network: "
        "shape '[1, 2, 2, 5]' is invalid for input of size 25. Set data.image_size or the network's settings."
    )
    assert message(file, "model.num_scores=4", check_model=True) == (
        "r.yaml:1: model.architecture: the network gives 4 scores, data set 'flags' has 3 classes. "
        "Let the network give one score for each class."
    )


def test_open_constructors(toy: Path, write: Write) -> None:
    name = f"{toy.name}.things"
    file = write(model=f"{{architecture: '{name}:Open', size: 3, more: 1}}", task="{name: labelled}")
    loaded = recipe.load(file)
    assert loaded.notes == ("r.yaml:1: model.more: passed on unchecked, for Open takes any setting.",)
    assert loaded.settings["model"]["more"] == 1
    assert message(file, "model.wrong=1", check_model=True) == (
        "override 'model.wrong=1': got an unexpected keyword argument 'wrong'."
    )
    broken = write(model=f"{{architecture: '{name}:Broken'}}", task="{name: labelled}")
    assert recipe.load(broken).notes == (
        "r.yaml:1: model.architecture: not checked beforehand: not on the meta device.",
    )
    function = write(model=f"{{architecture: '{name}:number'}}", task="{name: labelled}")
    assert message(function, check_model=True) == (
        f"r.yaml:1: model.architecture: '{name}:number' makes a int, no torch.nn.Module. Name a network."
    )


def test_torchvision(write: Write) -> None:
    file = write(model="{architecture: 'torchvision.models:resnet18', num_classes: 3}", task="{name: labelled}")
    loaded = recipe.load(file)
    assert loaded.settings["model"] == {
        "architecture": "torchvision.models:resnet18",
        "weights": None,
        "progress": True,
        "num_classes": 3,
    }
    assert loaded.notes == ("r.yaml:1: model.num_classes: passed on unchecked, for resnet18 takes any setting.",)
    assert message(file, "model.num_clases=3", check_model=True) == (
        "override 'model.num_clases=3': ResNet.__init__() got an unexpected keyword argument 'num_clases'."
    )
    assert message(file, "model.num_classes=4") == (
        "override 'model.num_classes=4': 4 asked, data set 'flags' has 3 classes. Set it to 3, or choose other data."
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("claim.valeu=3", "no setting 'valeu' in claim. Did you mean 'value'?"),
        ("claim.seeds=many", "'many' is not an integer. Write an integer."),
    ],
)
def test_claims(write: Write, override: str, expected: str) -> None:
    file = write(claim="{metric: test/top1_error, value: 3.0, tolerance: 0.5}")
    assert recipe.load(file, check_model=False)["claim"]["seeds"] == 1
    assert message(file, override) == f"override '{override}': {expected}"


# Groups of parameters, things of other packages, metrics ------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("{match: full, lrr: 0.1}", ".lrr: no setting 'lrr' in a group of sgd. Did you mean 'lr'?"),
        ("{mach: full, lr: 0.1}", ".mach: no setting 'mach' in a group of sgd. Did you mean 'match'?"),
        ("{match: full, lr: x}", ".lr: 'x' is not a number. Write a number."),
        ("{match: full, lr: -1}", ".lr: -1.0 is too small. Set at least 0."),
        ("{match: full, groups: []}", ".groups: no setting 'groups' in a group of sgd. "
         "Did you mean 'optimizer.groups'?"),
        ("{match: 3}", ".match: 3 is not text. Put it in quotes: '3'."),
        ("{match: full, nesterov: true}", ".nesterov: nesterov looks ahead along the momentum, which is 0. "
         "Set momentum above 0, or nesterov to false."),
        ("{lr: 0.1}", ".match: this setting is missing, a group of sgd needs it. Add `match`, text."),
    ],
)  # fmt: skip
def test_groups(write: Write, group: str, expected: str) -> None:
    file = write(optimizer=f"{{name: sgd, lr: 0.1, groups: [\n  {{match: bias, weight_decay: 0}},\n  {group}]}}")
    assert message(file) == f"r.yaml:6: optimizer.groups.1{expected}"


def test_groups_keep_what_they_say(write: Write) -> None:
    file = write(optimizer="{name: adam, groups: [{match: full, beta1: 0, lr: 1}]}")
    assert recipe.load(file)["optimizer"]["groups"] == [{"match": "full", "beta1": 0.0, "lr": 1.0}]


THINGS = """
class Watch:
    def __init__(self, *, every: int, label: str = "x") -> None: ...


class Score:
    def __new__(cls, kind: int = 3, **more): ...
"""


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("callbacks=[{name: 'no.such:Thing'}]", "callbacks.0.name: there is no module 'no.such'. "
         "Check the name, install its package, or start dltk in the folder that holds it."),
        ("callbacks=[{name: 'MINE:Wach'}]", "callbacks.0.name: module 'MINE' has no 'Wach'. Did you mean 'Watch'?"),
        ("callbacks=[{name: Watch}]", "callbacks.0.name: 'Watch' is no 'package.module:Name'. "
         "Write it like 'my_package.my_module:MyNet'."),
        ("callbacks=[{every: 3}]", "callbacks.0.name: this setting is missing, the entry has every. "
         "Write `name: package.module:Name`."),
        ("callbacks=[{name: 'MINE:Watch'}]", "callbacks.0.every: this setting is missing, Watch needs it. "
         "Add `every`, an integer."),
        ("callbacks=[{name: 'MINE:Watch', evry: 3}]", "callbacks.0.evry: no setting 'evry' in Watch. "
         "Did you mean 'every'?"),
        ("callbacks=[{name: 'MINE:Watch', every: often}]", "callbacks.0.every: 'often' is not an integer. "
         "Write an integer."),
        ("metrics=[{name: 'MINE:Score', kind: many}]", "metrics.0.kind: 'many' is not an integer. Write an integer."),
        ("metrics=[{name: 'MINE:Score'}, {name: 'MINE:Score'}]", "metrics.1.name: there is a metric 'Score' already. "
         "Give it a `label` of its own."),
    ],
)  # fmt: skip
def test_callbacks_and_metrics(toy: Path, write: Write, override: str, expected: str) -> None:
    mine = f"{toy.name}_things"
    Path(f"{mine}.py").write_text("raise RuntimeError('imported')\n" + THINGS)
    override = f"train.{override.replace('MINE', mine)}"
    assert message(write(), override) == f"override '{override}': train.{expected.replace('MINE', mine)}"


def test_metrics_by_their_labels(toy: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = f"{toy.name}_things"
    Path(f"{mine}.py").write_text(THINGS)
    row = replace(catalogue.TASKS["labelled"], metrics=("loss", "top5_error"))
    monkeypatch.setitem(catalogue.TASKS, "labelled", row)
    metrics = f"train.metrics=[{{name: '{mine}:Score', label: f1, knd: 2}}]"
    loaded = recipe.load(write(), metrics, "checkpoint.monitor=val/f1", check_model=False)
    assert loaded["train"]["metrics"] == [{"name": f"{mine}:Score", "label": "f1", "knd": 2}]
    assert loaded.notes == (
        f"override '{metrics}': train.metrics.0.knd: passed on unchecked, for Score takes any setting. "
        "Did you mean 'kind'?",
    )
    # Three classes: every one of them is among the first five.
    assert message(write(), "checkpoint.monitor=val/top5_error") == (
        "override 'checkpoint.monitor=val/top5_error': 'val/top5_error' is not measured. Choices: val/loss."
    )
    assert message(write(), metrics.replace("f1", "loss")) == (
        f"override '{metrics.replace('f1', 'loss')}': train.metrics.0.label: there is a metric 'loss' already. "
        "Give it a `label` of its own."
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["claim.metric=top1_error"], "override 'claim.metric=top1_error': 'top1_error' does not begin with 'test/', "
         "claim.split is 'test'. Write test/top1_error."),
        (["claim.split=val"], "r.yaml:7: claim.metric: 'test/top1_error' does not begin with 'val/', "
         "claim.split is 'val'. Write val/top1_error, or change claim.split."),
        (["claim.seeds=0"], "override 'claim.seeds=0': 0 is too small. Set at least 1."),
        (["claim.tolerance=-1"], "override 'claim.tolerance=-1': -1.0 is too small. Set at least 0."),
    ],
)  # fmt: skip
def test_claims_that_nothing_can_meet(write: Write, overrides: list[str], expected: str) -> None:
    file = write(claim="{metric: test/top1_error, value: 3.0, tolerance: 0.5}")
    assert message(file, *overrides) == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("task.std=[0]", "[0.0] is too small. Set more than 0."),
        ("task.std=[]", "[] has 0 values, images of 'digits' have 1 channel. Give one number."),
        ("task.mean=[0.1, 0.2]", "[0.1, 0.2] has 2 values, images of 'digits' have 1 channel. Give one number."),
        ("schedule.patience=-1", "patience is -1, a number of validations. Set 0 or more."),
        ("schedule.warmup=.inf", "warmup is inf, a length of time. Set 0 or more."),
        ("schedule.factor=-1", "factor is -1.0, which multiplies the learning rate. Set 0 or more."),
    ],
)
def test_shipped_recipes_with_impossible_numbers(override: str, expected: str) -> None:
    found = message("mlp_digits", "schedule.name=plateau", override, check_model=True)
    assert found == f"override '{override}': {expected}"


def test_as_many_means_as_channels() -> None:
    images = ["linear_digits", "data={name: images, channels: 3, image_size: 8}", "model.image=[3, 8, 8]"]
    assert recipe.load(*images, "task.mean=[0.5, 0.4, 0.3]", check_model=False)["task"]["std"] == [1.0]
    assert message(*images, "task.mean=[0.5, 0.4]") == (
        "override 'task.mean=[0.5, 0.4]': [0.5, 0.4] has 2 values, images of 'images' have 3 channels. "
        "Give one number, or 3."
    )


def test_a_file_whose_name_is_no_name(write: Write) -> None:
    file = write(file="my recipe.yaml")
    assert message(file) == (
        "my recipe.yaml: name: the file's name 'my recipe' cannot name the runs' folder. Add `name: NAME`, or rename "
        "the file. Use letters, digits and . _ + = , - only; begin with a letter or digit."
    )
    assert recipe.load(file, "name=mine", check_model=False).name == "mine"
