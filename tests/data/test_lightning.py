"""The loaders under a real Lightning Trainer: epoch by epoch, or the whole run as one, resumed anywhere."""

import logging
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from dltk.data.datamodule import DataModule
from dltk.data.digits import Digits
from dltk.data.transforms import Affine

BATCH = 200  # of 1,258: 6 batches an epoch, 58 samples dropped
EPOCHS = 3

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*"),
]


class Recording(lightning.LightningModule):
    """Trains one number and notes what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, int, int, tuple[str, ...], int]] = []
        self.validated: list[str] = []

    def training_step(self, batch, batch_idx):
        info = batch["info"]
        pixels = int((batch["image"].long() * torch.arange(64).view(8, 8)).sum())
        self.seen.append((info.epoch, info.step, info.micro, info.keys, pixels))
        return (self.weight * batch["image"].float().mean()).sum()

    def validation_step(self, batch, batch_idx):
        self.validated += [k for k, w in zip(batch["info"].keys, batch["weight"].tolist(), strict=True) if w]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-6)


def fit(folder: Path | None, workers: int = 0, resume: Path | None = None, whole_run: bool = False, **arguments):
    module = Recording()
    data = DataModule(
        Digits, batch=BATCH, seed=3, augment=Affine(), workers=workers, epochs=EPOCHS, whole_run=whole_run
    )
    callbacks = []
    if folder is not None:
        callbacks = [
            ModelCheckpoint(folder, "step-{step}", every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False),
            ModelCheckpoint(
                folder / "ends", "epoch-{epoch}", save_top_k=-1, save_on_train_epoch_end=True, every_n_epochs=1
            ),
        ]
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=folder is not None,
        callbacks=callbacks,
        num_sanity_val_steps=0,
        **arguments,
    )
    trainer.fit(module, data, ckpt_path=resume, weights_only=False if resume else None)
    return module


def expected(accumulate: int = 1) -> list[tuple[int, int, int]]:
    return [(step // 6, step, micro) for step in range(6 * EPOCHS) for micro in range(accumulate)]


def positions(module: Recording) -> list[tuple[int, int, int]]:
    return [one[:3] for one in module.seen]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run with all its checkpoints: one Lightning epoch for each epoch."""
    folder = tmp_path_factory.mktemp("epochs")
    return folder, fit(folder, max_epochs=EPOCHS)


@pytest.fixture(scope="module")
def spanned(tmp_path_factory):
    """The same as one Lightning epoch."""
    folder = tmp_path_factory.mktemp("span")
    return folder, fit(folder, max_epochs=1, whole_run=True)


def test_the_epochs_come_in_order_and_validation_sees_each_sample_once(whole):
    _, module = whole
    assert positions(module) == expected()
    keys = [key for one in module.seen if one[0] == 1 for key in one[3]]
    assert len(keys) == len(set(keys)) == 1200
    assert sorted(module.validated) == sorted(Digits("val").keys * EPOCHS)


def test_the_whole_run_as_one_span_shows_the_same(whole, spanned):
    assert spanned[1].seen == whole[1].seen


@pytest.mark.parametrize("step", [1, 5, 6, 7, 12, 17])
def test_resumed_anywhere_in_an_epoch(whole, step):
    folder, module = whole
    again = fit(None, resume=folder / f"step-{step}.ckpt", max_epochs=EPOCHS)
    assert again.seen == module.seen[step:]


@pytest.mark.parametrize("epoch", [0, 1])
def test_resumed_from_a_checkpoint_of_an_epochs_end(whole, epoch):
    folder, module = whole
    again = fit(None, resume=folder / "ends" / f"epoch-epoch={epoch}.ckpt", max_epochs=EPOCHS)
    assert again.seen == module.seen[6 * (epoch + 1) :]


@pytest.mark.parametrize("step", [1, 6, 11, 17])
def test_the_span_resumed(spanned, step):
    folder, module = spanned
    again = fit(None, resume=folder / f"step-{step}.ckpt", max_epochs=1, whole_run=True)
    assert again.seen == module.seen[step:]


@pytest.mark.parametrize("step", [4, 6])
def test_resumed_under_max_steps(whole, tmp_path, step):
    _, module = whole
    short = fit(tmp_path, max_steps=step)
    assert short.seen == module.seen[:step]
    again = fit(None, resume=tmp_path / f"step-{step}.ckpt", max_steps=14)
    assert again.seen == module.seen[step:14]


def test_two_workers_show_the_same_and_resume(whole):
    folder, module = whole
    assert fit(None, workers=2, max_epochs=EPOCHS).seen == module.seen
    assert fit(None, workers=2, resume=folder / "step-8.ckpt", max_epochs=EPOCHS).seen == module.seen[8:]


def test_two_workers_over_the_whole_span(spanned):
    folder, module = spanned
    again = fit(None, workers=2, resume=folder / "step-8.ckpt", max_epochs=1, whole_run=True)
    assert again.seen == module.seen[8:]


def test_two_steps_of_a_bare_trainer(whole):
    assert fit(None, max_steps=2).seen == whole[1].seen[:2]


def test_accumulation_makes_the_same_global_batches(whole, tmp_path):
    module = fit(tmp_path, max_epochs=EPOCHS, accumulate_grad_batches=2)
    assert positions(module) == expected(accumulate=2)
    joined = [set(a[3]) | set(b[3]) for a, b in zip(module.seen[::2], module.seen[1::2], strict=True)]
    assert joined == [set(one[3]) for one in whole[1].seen]
    again = fit(None, resume=tmp_path / "step-7.ckpt", max_epochs=EPOCHS, accumulate_grad_batches=2)
    assert again.seen == module.seen[14:]
