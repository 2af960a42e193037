"""`dltk draw RUN verification`, on a run that holds digits out, and what other runs are told."""

from pathlib import Path

import torch

from dltk.assemble import build_data, load
from dltk.run.folder import RunFolder
from dltk.tasks.verification import area, face_vectors, inner_products, pairs_of
from tests.cli.conftest import Command, Trained

SHORT = [
    "train.epochs=null",
    "train.steps=20",
    "train.validate_every=20",
    "model.narrow=16",
    "log.wandb=disabled",
    "run=short",
]


def test_pairs_of_digits_that_were_held_out(dltk: Command, signals: None, trained: Trained, tmp_path: Path) -> None:
    said = dltk("train", "deepface_strangers", *SHORT, f"runs_dir={tmp_path / 'runs'}")
    assert said.code == 0, said.err
    path, to = tmp_path / "runs" / "deepface_strangers" / "short", tmp_path / "roc.svg"
    said = dltk("draw", path, "verification", "--to", to, "--json")
    assert said.code == 0, said.err
    assert to.read_text().startswith("<?xml")
    assert said.json["classes"] == ["0", "1", "2"]
    assert (said.json["pairs"], said.json["same"]) == (300 * 299 // 2, 3 * 100 * 99 // 2)
    areas = said.json["area"]
    assert list(areas) == ["weighted chi-squared", "inner product", "inner product of pixels"]

    settings = RunFolder.open(path).recipe
    everything = build_data({**settings, "data": {**settings["data"], "held_out": []}})
    task, vectors = load(path), []
    with torch.no_grad():
        train = everything.part("train")
        largest = task.model.features(task.pixels(train.images[train.targets % 10 > 2])).amax(0)
        test = everything.part("test")
        strange = test.targets <= 2
        vectors = face_vectors(task.model.features(task.pixels(test.images[strange])), largest)
    one, other = pairs_of(len(vectors))
    same = test.targets[strange][one] == test.targets[strange][other]
    assert abs(areas["inner product"] - area(inner_products(vectors), same)) < 1e-4

    said = dltk("draw", trained.path, "verification")
    assert said.code == 2
    assert "mlp: has no `features` to compare. Draw a run of deepface." in said.err
