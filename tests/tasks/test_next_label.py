"""Next labels: the loss by hand, any division of a batch, what is kept."""

import lightning
import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric

from dltk.data.datamodule import DataModule
from dltk.data.loader import BatchInfo
from dltk.data.tones import Tones
from dltk.data.utterances import together
from dltk.errors import DataError
from dltk.models.deep_blstm import NextLabelNet
from dltk.optim import sgd
from dltk.tasks.next_label import NextLabel
from dltk.tasks.task import Procedure

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def task_of(**procedure):
    torch.manual_seed(0)

    def optimizer(model):
        return sgd([{"params": list(model.parameters())}], lr=0.5)

    net = NextLabelNet(num_classes=8, hidden_size=6, first_weights=0.5)
    return NextLabel(net, procedure=Procedure(optimizer=optimizer, **procedure))


def batch_of(utterances, weight):
    count = len(utterances)
    keys, places = tuple(map(str, range(count))), np.arange(count)
    info = BatchInfo(
        epoch=0, step=0, micro=0, places=places, keys=keys, hashes=places.astype(np.uint64), samples=count,
        planned=float(count), weight=float(count),
    )  # fmt: skip
    return {**together(utterances), "weight": torch.tensor(weight), "info": info}


def test_the_loss_is_of_the_labels_and_the_end_of_each_transcript_that_counts():
    part = Tones("train", utterances=20)
    every = [part[number] for number in range(4)]
    assert len({len(one["target"]) for one in every}) > 1
    task = task_of().eval()
    found = task.measure(batch_of(every, [1.0, 0.0, 1.0, 1.0]))
    losses, wrong = [], 0
    for one in (every[0], every[2], every[3]):
        state = task.model.start(1)
        for before, right in zip([0, *one["target"]], [*one["target"], 0], strict=True):
            known, state = task.model.step(torch.tensor([before]), state)
            logs = torch.log_softmax(task.model.output(torch.tanh(known)), 1)[0]
            losses.append(-float(logs[right].detach()))
            wrong += int(logs.argmax()) != right
    assert float(found["loss"].detach()) == pytest.approx(sum(losses), rel=1e-5)
    assert float(found["weight"]) == 3
    assert [float(one) for one in found["token_loss"]] == pytest.approx([sum(losses), len(losses)])
    assert [float(one) for one in found["token_error"]] == [100.0 * wrong, len(losses)]
    assert found["scores"].shape == (4, max(len(one["target"]) for one in every) + 1)
    assert not found["scores"][1].any()
    assert float(found["scores"].sum()) == pytest.approx(sum(losses), rel=1e-5)
    task.evaluation.add(found)
    assert task.evaluation.read()["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)


def test_the_least_loss_is_that_of_who_knows_how_often_each_transcript_comes():
    part = Tones("train", utterances=20)
    one, other, third = part[0], part[1], part[2]
    batches = [batch_of([one, other, third], [1.0, 1.0, 0.0]), batch_of([one, one], [1.0, 1.0])]
    assert task_of().least_loss(batches) == pytest.approx(-(3 * np.log(3 / 4) + np.log(1 / 4)) / 4)


def test_any_division_of_a_batch_gives_the_same_steps():
    found = []
    for accumulate in (1, 3):
        task = task_of()
        trainer = lightning.Trainer(max_steps=2, accumulate_grad_batches=accumulate, limit_val_batches=0, **QUIET)
        trainer.fit(task, DataModule(Tones, {"utterances": 30}, batch=12, seed=3, epochs=2))
        found.append(nn.utils.parameters_to_vector(task.model.parameters()).detach())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found[0], nn.utils.parameters_to_vector(task_of().model.parameters()).detach())


def test_what_is_refused():
    task, part = task_of(), Tones("train", utterances=20)
    task.require(part)
    part.classes = ("A", "B")
    with pytest.raises(DataError, match="its labels are not those that the network was trained with"):
        task.require(part)
    with pytest.raises(ValueError, match=r"the next labels have no class scores for train\.metrics\. Remove them"):
        task_of(metrics={"mean": MeanMetric()})
