"""Evaluations as a user starts them, on one and two processes, of one run and of several."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dltk.assemble import load
from dltk.data.images import Images
from dltk.launch import measuring
from dltk.launch.evaluation import load_predictions
from dltk.run.folder import RunFolder
from tests.launch.conftest import Workshop

CLASSES = ("dark", "light", "striped")
PICTURES = """
model:
  architecture: alexnet
  num_classes: 3
  image: [3, 16, 16]
  maps: [4, 4, 4, 4, 4]
  hidden_sizes: [8, 8]
  kernel: 3
  stride: 1
  first_weights: he
data: {name: images, folder: pictures, image_size: 16, resize: 20, workers: 0, max_bad: 1}
optimizer: {name: sgd, lr: 0.02, momentum: 0.9}
batch: {global: 8}
train: {epochs: 2}
log: {wandb: disabled}
claim: {metric: test/top1_error, protocol: ten_crop, value: 30, tolerance: 70}
"""


@pytest.fixture(scope="module")
def photographs(workshop: Workshop) -> Path:
    """A run on pictures of several shapes, some grey, some with transparency, and one of the test part damaged."""
    noise = np.random.default_rng(0)
    for k, name in enumerate(CLASSES):
        folder = workshop.folder / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(20):
            shape = ((22, 30), (30, 22), (24, 24))[number % 3]
            pixels = noise.integers(60 * k, 60 * k + 120, (*shape, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(("RGB", "L", "RGBA")[number % 3]).save(folder / f"{number}.png")
    damaged = Images("test", str(workshop.folder), folder="pictures", image_size=16).keys[4]
    (workshop.folder / "pictures" / damaged).write_bytes(b"no picture")
    (workshop.folder / "photos.yaml").write_text(PICTURES)
    workshop.dltk("train", "photos.yaml", "run=a", f"data_dir={workshop.folder}")
    return workshop.folder / "runs" / "photos" / "a"


def evaluated(workshop: Workshop, *arguments: object) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    answer = json.loads(workshop.dltk("evaluate", *map(str, arguments), "--json").out)
    assert set(answer) >= {"split", "protocol", "samples", "metrics"}
    samples = load_predictions(workshop.folder / answer["predictions"]) if answer["predictions"] else {}
    return answer, samples


@pytest.mark.parametrize("protocol", ["single_crop", "ten_crop", "multi_scale_dense", "multi_crop"])
def test_every_sample_counts_once_on_any_number_of_processes(
    workshop: Workshop, photographs: Path, protocol: str
) -> None:
    one, alone = evaluated(workshop, photographs, "--protocol", protocol)
    two, together = evaluated(workshop, photographs, "--protocol", protocol, "launch.devices=2")
    assert one["samples"] == two["samples"] == len(set(alone["keys"])) == 11  # of 12, one is damaged
    assert list(alone["keys"]) == list(together["keys"])
    assert list(alone["targets"]) == list(together["targets"])
    np.testing.assert_allclose(alone["scores"], together["scores"], atol=1e-5)
    assert one["metrics"] == pytest.approx(two["metrics"], abs=1e-5)
    wrong = 100 * np.mean(alone["scores"].argmax(1) != alone["targets"])
    assert one["metrics"]["test/top1_error"] == pytest.approx(wrong)
    assert Path(one["predictions"]).name == f"test-{protocol}.npz"


def test_a_training_ends_with_what_its_claim_is_about(workshop: Workshop, photographs: Path) -> None:
    summary = RunFolder.open(photographs).summary()
    assert summary is not None
    assert (summary["evaluation"]["protocol"], summary["evaluation"]["scales"]) == ("ten_crop", [20])
    again, _ = evaluated(workshop, photographs, "--protocol", "ten_crop")
    assert summary["evaluation"]["metrics"] == pytest.approx(again["metrics"])
    said = workshop.dltk("evaluate", str(photographs), "--protocol", "ten_crop")
    assert "PASS: test/top1_error" in said.out
    assert "PASS" not in workshop.dltk("evaluate", str(photographs)).out


def test_ten_crops_of_a_run_are_ten_forwards(workshop: Workshop, photographs: Path) -> None:
    _, samples = evaluated(workshop, photographs, "--protocol", "ten_crop", "--scales", 22)
    squares = Images("test", str(workshop.folder), folder="pictures", image_size=22)
    task: Any = load(photographs)
    for key, scores in zip(samples["keys"], samples["scores"], strict=True):
        square = squares[squares.keys.index(str(key))]["image"]
        crops = [square[:, y : y + 16, x : x + 16] for y, x in ((0, 0), (0, 6), (6, 0), (6, 6), (3, 3))]
        with torch.no_grad():
            each = [torch.softmax(task(one[None]), 1) for crop in crops for one in (crop, crop.flip(2))]
        torch.testing.assert_close(torch.from_numpy(scores).exp(), torch.cat(each).mean(0), atol=1e-5, rtol=1e-4)
    assert (photographs / "predictions" / "test-ten_crop=22.npz").exists()


def test_an_ensemble_is_the_mean_of_its_members(workshop: Workshop) -> None:
    runs = [workshop.train(f"member-{seed}", f"train.seed={seed}", "train.epochs=1") for seed in (1, 2, 3)]
    for devices in (1, 2):
        answer, samples = evaluated(workshop, *runs, "--to", "together", f"launch.devices={devices}")
        assert answer["protocol"] == "single_crop+ensemble=3"
        assert [Path(member["run"]).name for member in answer["members"]] == [run.name for run in runs]
        kept = [load_predictions(run / "predictions" / "test-single_crop.npz") for run in runs]
        mean = np.mean([torch.softmax(torch.from_numpy(one["scores"]), 1).numpy() for one in kept], axis=0)
        np.testing.assert_allclose(np.exp(samples["scores"]), mean, atol=1e-6)
        assert list(samples["keys"]) == list(kept[0]["keys"])
        right = mean[np.arange(len(mean)), samples["targets"]]
        assert answer["metrics"]["test/loss"] == pytest.approx(-np.log(right).mean(), rel=1e-4)
        assert answer["metrics"]["test/top1_error"] == pytest.approx(
            100 * np.mean(mean.argmax(1) != samples["targets"])
        )
    answer, samples = evaluated(workshop, *runs[:2])
    assert (answer["predictions"], samples) == (None, {})


def test_runs_that_do_not_fit_are_no_ensemble(workshop: Workshop, photographs: Path, reference: Path) -> None:
    said = workshop.dltk("evaluate", str(reference), str(photographs), expect=2).err
    assert f"photos/a: data: it has 3 classes, and {reference} 10. An ensemble needs runs of one data set" in said
    assert len(said.splitlines()) == 1
    short = ("train.epochs=1", f"data_dir={workshop.folder}")
    workshop.dltk("train", "photos.yaml", "run=wide", "model.num_classes=4", *short)
    said = workshop.dltk("evaluate", str(photographs), "runs/photos/wide", expect=2).err
    assert "runs/photos/wide: model: its network tells 4 classes apart, that of" in said
    (workshop.folder / "other" / "pictures").mkdir(parents=True)
    for name in ("dark", "bright", "striped"):
        (workshop.folder / "other" / "pictures" / name).symlink_to(
            workshop.folder / "pictures" / name.replace("bright", "light")
        )
    workshop.dltk("train", "photos.yaml", "run=b", "train.epochs=1", f"data_dir={workshop.folder / 'other'}")
    said = workshop.dltk("evaluate", str(photographs), "runs/photos/b", expect=2).err
    assert "runs/photos/b: data: its class 0 is 'bright', and that of" in said


def test_a_mistake_on_two_processes_is_one_line(workshop: Workshop, photographs: Path, reference: Path) -> None:
    for run, protocol, says in (
        (reference, "dense", "dense: MLP cannot be run over larger pictures: it has no `dense`. Choose single_crop"),
        (reference, "ten_crop", "ten_crop: the images are 8 × 8, which the network reads whole"),
        (photographs, "dense=12", "--scales: 12 is less than the 16 pixels that the network reads. Give at least 16."),
    ):
        said = workshop.dltk("evaluate", str(run), "--protocol", protocol, "launch.devices=2", expect=2)
        assert said.err.startswith(says)
        assert len(said.err.splitlines()) == 1
        assert not said.out


def test_a_checkpoint_of_another_network_is_refused(workshop: Workshop, reference: Path) -> None:
    other = workshop.train("narrow", "model.hidden_sizes=[8]", "train.epochs=1")
    frozen = other / "recipe.yaml"
    text = frozen.read_text()
    assert text.count("hidden_sizes: [8]") == 1
    frozen.write_text(text.replace("hidden_sizes: [8]", "hidden_sizes: [9]"))
    said = workshop.dltk("evaluate", str(other), expect=2).err
    assert "checkpoint: belongs to another network: " in said
    assert len(said.splitlines()) == 1


def test_only_the_place_of_a_run_may_change(workshop: Workshop, reference: Path) -> None:
    said = workshop.dltk("evaluate", str(reference), "optimizer.lr=0.5", expect=2).err
    assert "optimizer.lr: the run was trained with 0.05, not 0.5. Change its place only" in said


@pytest.mark.parametrize(
    ("launch", "changes", "world"),
    [
        ({"accelerator": "cpu", "devices": "auto"}, (), 1),
        ({"accelerator": "cpu", "devices": 1}, ("launch.devices=2",), 2),
        ({"accelerator": "cuda", "devices": 64}, (), None),
    ],
)
def test_all_devices_are_used(
    launch: dict[str, Any], changes: tuple[str, ...], world: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    launch = {"strategy": "auto", **launch}
    if changes:
        launch = {**launch, "devices": 2}
    assert measuring.devices({"launch": launch}, changes) == ("cpu", world or 4)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    if not changes:
        assert measuring.devices({"launch": launch}) == ("cuda", 8)
