"""Translators whose words lie on several processes, against one process."""

import pytest

from dltk.run.folder import RunFolder
from tests.launch.strategies.conftest import Train, curve, state
from tests.trainer.states import assert_close

pytestmark = pytest.mark.cluster

# Few long sentences leave some of four processes without any; the others' numbers of words differ.
SMALL = [
    *("model.hidden_size=16", "model.embedding_size=8", "batch.global=6", "batch.tokens=60", "train.epochs=null"),
    *("train.steps=6", "train.validate_every=3", "train.clip_norm=0.2", "train.seed=3", "train.ema=0.9"),
    *("data.pairs=600", "data.eval_batch=16", "optimizer={name: sgd, lr: 0.1, momentum: 0.9}", "schedule=null"),
    *("checkpoint.every_steps=1", "checkpoint.keep_last=9"),
    *("log.every_steps=1", "log.wandb=disabled", "launch.accelerator=cpu"),
]
OWN = {"seq2seq": ["model.num_layers=2"], "rnnsearch": ["model.maxout_size=8", "model.alignment_size=8"]}


def assert_one_process(several: RunFolder, alone: RunFolder) -> None:
    """See that several processes have trained a translator as one did, clipping at work."""
    assert max(curve(alone, "train/gradient_norm").values()) > 0.25, "or nothing is clipped"
    for metric in ("train/loss", "train/token_loss", "train/gradient_norm", "val/loss"):
        assert curve(several, metric) == pytest.approx(curve(alone, metric), abs=1e-5), metric
    for metric in ("train/token_error", "val/token_error", "val/chrf", "data/digest"):
        assert curve(several, metric) == curve(alone, metric), metric
    for step in (1, 6):  # after the first step the momentum is its gradient
        found, wanted = state(several, step), state(alone, step)
        for part in ("weights", "average", "optimizer"):
            assert_close(found[part], wanted[part], f"step {step}, {part}")


@pytest.mark.parametrize(("world", "sharing"), [(2, 2), (4, 4), (4, 2)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("network", OWN)
def test_losses_and_gradients_are_those_of_one_process(
    train: Train, network: str, smoothing: float, world: int, sharing: int
) -> None:
    said = (f"{network}_number_names", *SMALL, *OWN[network], f"task.label_smoothing={smoothing}")
    alone = train("auto", 1, *said)
    several = train("ddp", world, *said, f"launch.tensor={sharing}")
    assert_one_process(several, alone)


def test_it_goes_on_under_ddp_and_back(train: Train) -> None:
    said = ("seq2seq_number_names", *SMALL, *OWN["seq2seq"])
    alone = train("auto", 1, *said)
    begun = train("ddp", 4, *said, "launch.tensor=4")
    plain = train("ddp", 2, said[0], *said[1:], "launch.tensor=1", fork=f"{begun.path}@2")
    back = train("ddp", 2, said[0], *said[1:], "launch.tensor=2", fork=f"{plain.path}@4")
    assert curve(back, "train/loss") == pytest.approx(
        {step: loss for step, loss in curve(alone, "train/loss").items() if step > 4}, abs=1e-5
    )
    assert_close(state(back, 6)["weights"], state(alone, 6)["weights"])
