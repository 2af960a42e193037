"""Word vectors in training: one loss on any number of processes, kinds that are found, words near each other."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dltk
from dltk import cli, recipe
from dltk.data.hashing import hash_keys
from dltk.data.loader import BatchInfo
from dltk.errors import DataError, RecipeError
from dltk.layers.tokens import PAD
from dltk.models.skipgram import SkipGram
from dltk.run.folder import RunFolder
from dltk.tasks.word_vectors import WordVectors, kind_error

KINDS = {
    "days": ["monday", "tuesday", "friday", "sunday"],
    "lands": ["egypt", "moab", "edom", "tyre"],
    "kin": ["father", "mother", "brother", "sister"],
}
TEMPLATES = {
    "days": "we rest on {} at noon and on {} by night",
    "lands": "he went from {} to {} with his flock",
    "kin": "her {} and my {} spake unto me gladly",
}


@pytest.fixture(name="root", scope="module")
def made_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    (root / "templates").mkdir()
    chance = np.random.default_rng(0)
    for part, count in (("train", 900), ("val", 30), ("test", 30)):
        lines = []
        for kind in chance.choice(list(KINDS), count):
            lines.append(TEMPLATES[kind].format(*chance.choice(KINDS[kind], 2, replace=False)))
        (root / "templates" / f"{part}.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def small(root: Path, *more: object) -> list[object]:
    settings = {
        "name": "templates",
        "model": {"architecture": "skipgram", "vocab_size": 60, "size": 12},
        "task": {"name": "word_vectors", "window": 4, "subsample": 0.0, "shared": 16, "kinds": KINDS},
        "data": {"name": "lines", "folder": "templates", "vocab_size": 60, "min_count": 2},
        "optimizer": {"name": "adam", "lr": 0.03},
        "batch": {"global": 1000, "tokens": 600},
        "train": {"epochs": 6},
        "checkpoint": {"monitor": "val/loss"},
        "log": {"wandb": "disabled"},
    }
    return [settings, f"data_dir={root}", f"runs_dir={root / 'runs'}", *more]


@pytest.fixture(name="run", scope="module")
def trained(root: Path) -> RunFolder:
    return dltk.train(*small(root, "run=first"))


def task_of(output: str, **settings: object) -> WordVectors:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = SkipGram(vocab_size=30, size=6, output=output).double()
        torch.nn.init.normal_(model.output.weight)
    model.take_counts(torch.tensor([0] * 4 + list(range(26, 0, -1))))
    return WordVectors(model, window=3, subsample=0.05, **settings).train()


def batch_of(lines: np.ndarray, chosen: np.ndarray) -> dict[str, object]:
    lengths = (lines[chosen] != PAD).sum(1)
    info = BatchInfo(
        epoch=2, step=7, micro=0, places=chosen, keys=tuple(map(str, chosen)), hashes=hash_keys(map(str, chosen)),
        samples=len(lines), planned=float((lines != PAD).sum()), weight=float(lengths.sum()),
    )  # fmt: skip
    return {"words": torch.from_numpy(lines[chosen]), "weight": torch.ones(len(chosen)), "info": info}


@pytest.mark.parametrize(
    ("output", "settings"), [("negative", {"shared": 8}), ("negative", {"shared": 0}), ("hierarchical", {})]
)
def test_processes_together_have_the_loss_of_one(output, settings):
    lines = np.random.default_rng(0).integers(4, 30, (9, 20))
    lines[3, 11:] = PAD
    task = task_of(output, **settings)
    whole = task.measure(batch_of(lines, np.arange(9)))
    parts = [task.measure(batch_of(lines, np.arange(rank, 9, 2))) for rank in range(2)]
    for read in (lambda one: one["loss"], lambda one: one["weight"], lambda one: one["pair_loss"][1]):
        assert float(sum(read(part) for part in parts)) == pytest.approx(float(read(whole)), rel=1e-6)
    assert float(whole["weight"]) == (lines != PAD).sum() == task.weigh(batch_of(lines, np.arange(9))["info"])[1]


def test_a_damaged_line_and_one_that_weighs_nothing_give_no_pair():
    lines = np.random.default_rng(0).integers(4, 30, (3, 10))
    task = task_of("negative", shared=0).eval()
    batch = batch_of(lines, np.arange(3))
    whole = task.measure(batch)
    left = task.measure({**batch, "weight": torch.tensor([1.0, 0.0, 1.0])})
    assert float(left["scores"][1]) == 0.0
    assert torch.allclose(left["scores"][[0, 2]], whole["scores"][[0, 2]])
    assert int(left["weight"]) == 20
    assert float(task.measure({**batch, "weight": torch.zeros(3)})["loss"]) == 0.0


def test_shared_negatives_cost_what_own_ones_do_in_the_mean():
    lines = np.random.default_rng(0).integers(4, 30, (40, 30))
    batch = batch_of(lines, np.arange(40))
    own = task_of("negative", shared=0).measure(batch)
    many = task_of("negative", shared=4000).measure(batch)
    assert float(many["loss"]) == pytest.approx(float(own["loss"]), rel=0.03)


def test_words_of_one_kind_come_together_where_chance_has_them_apart(run):
    summary = run.summary()
    assert summary is not None
    metrics = summary["evaluation"]["metrics"]
    assert metrics["test/kind_error"] <= 5.0
    chance = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    by_chance = 100 * (1 - 3 / 11)
    assert kind_error(chance, torch.arange(12) // 4) == pytest.approx(by_chance, abs=35)
    assert metrics["test/kind_error"] < by_chance / 10
    assert 0 < metrics["test/pair_loss"] < metrics["test/loss"]


def test_nearest_words_and_analogies_by_command(run, capsys):
    assert cli.run(["words", str(run.path), "monday", "egypt", "--top", "3", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    for answer, kind in zip(answers, ("days", "lands"), strict=True):
        assert {one["word"] for one in answer["near"]} == set(KINDS[kind]) - {answer["word"]}
        cosines = [one["cosine"] for one in answer["near"]]
        assert cosines == sorted(cosines, reverse=True)
    assert cli.run(["words", str(run.path), "monday", "friday", "egypt", "--analogy", "--top", "2", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert {one["word"] for one in answer["near"]} <= set(KINDS["lands"])
    assert cli.run(["words", str(run.path), "monday"]) == 0
    assert "tuesday" in capsys.readouterr().out


def test_words_on_a_plane(run, tmp_path, capsys):
    picture = tmp_path / "words.svg"
    names = [word for words in KINDS.values() for word in words]
    assert cli.run(["draw", str(run.path), "words", *names, "-o", str(picture), "--json"]) == 0
    drawn = json.loads(capsys.readouterr().out)
    assert (drawn["names"], drawn["side"]) == (names, None)
    assert drawn["labelled"] == {"pca": 12, "tsne": 12}
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nineveh"], "words: 'nineveh' is not in the vocabulary. Leave it out."),
        (["monday", "egypt", "--analogy"], "--analogy: is of three words, 2 given."),
        (["monday", "--side", "source"], "--side: is of translators, 'skipgram' has one language."),
    ],
)
def test_questions_without_an_answer(run, arguments, says, capsys):
    assert cli.run(["words", str(run.path), *arguments]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("task.window=0", r"task\.window.*: 0 is too small"),
        ("task.subsample=1.0", r"task\.subsample.*: 1\.0 is too large"),
    ],
)
def test_recipes_that_cannot_be_trained_by(root, setting, says):
    with pytest.raises(RecipeError, match=says):
        recipe.load(*small(root, setting), check_model=False)


def test_kinds_are_words_of_the_vocabulary(root):
    with pytest.raises(ValueError, match="kinds are fewer than two"):
        WordVectors(SkipGram(vocab_size=9, size=2), kinds={"days": ["monday", "sunday"]})
    task, data = dltk.build(*small(root, "task.kinds={one: [monday, sunday], two: [nineveh, tyre]}"))
    with pytest.raises(DataError, match=r"task\.kinds: 'nineveh' of two is no word of the vocabulary"):
        task.require(data.part("train"))
