"""Transcription: the loss by hand, any division of a batch, what has no alignment, what is measured and kept."""

import jiwer
import lightning
import numpy as np
import pytest
import torch
from torch import nn

from dltk.data.datamodule import DataModule
from dltk.data.loader import BatchInfo
from dltk.data.tones import Tones
from dltk.data.utterances import together, utterance
from dltk.errors import DataError
from dltk.models.deep_blstm import BLSTMTransducer, DeepBLSTM
from dltk.optim import sgd
from dltk.tasks.task import Procedure, mixed_seed
from dltk.tasks.transcription import NOISE, Alphabet, Transcription, edits

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SIZES = {"num_classes": 8, "input_size": 10, "hidden_size": 6, "num_layers": 1, "first_weights": 0.3}
MODELS = {"ctc": DeepBLSTM, "transducer": BLSTMTransducer}


class Broken(Tones):
    """Tones of which two utterances cannot be read."""

    def __getitem__(self, number):
        if number in (3, 7):
            raise DataError("", str(number), "is damaged")
        return super().__getitem__(number)

    def batch(self, numbers):
        if {3, 7} & set(numbers.tolist()):
            raise DataError("", "", "is damaged")
        return super().batch(numbers)


def task_of(kind="ctc", **settings):
    torch.manual_seed(0)

    def optimizer(model):
        return sgd([{"params": list(model.parameters())}], lr=0.5)

    return Transcription(MODELS[kind](**SIZES), procedure=Procedure(optimizer=optimizer), **settings)


def info_of(count, step=0):
    keys, places = tuple(map(str, range(count))), np.arange(count)
    return BatchInfo(
        epoch=0, step=step, micro=0, places=places, keys=keys, hashes=places.astype(np.uint64), samples=count,
        planned=float(count), weight=float(count),
    )  # fmt: skip


def batch_of(utterances, weight=None, step=0):
    count = len(utterances)
    weights = torch.ones(count) if weight is None else torch.tensor(weight)
    return {**together(utterances), "weight": weights, "info": info_of(count, step)}


def some(count=5):
    part = Tones("train", utterances=20)
    return [part[number] for number in range(count)]


def weights(task):
    return nn.utils.parameters_to_vector(task.model.parameters()).detach()


@pytest.mark.parametrize("kind", MODELS)
def test_the_loss_is_the_sum_of_the_utterances_that_count(kind):
    task, every = task_of(kind), some()
    alone = [float(task.measure(batch_of([one]))["loss"]) for one in every]
    found = task.measure(batch_of(every, [1.0, 1.0, 0.0, 1.0, 1.0]))
    assert float(found["loss"]) == pytest.approx(sum(alone) - alone[2], rel=1e-5)
    assert float(found["weight"]) == 4


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dataset", [Tones, Broken])
def test_any_division_of_a_batch_gives_the_same_steps(kind, dataset):
    found = []
    for accumulate in (1, 3):
        task = task_of(kind)
        trainer = lightning.Trainer(max_steps=2, accumulate_grad_batches=accumulate, limit_val_batches=0, **QUIET)
        data = DataModule(dataset, {"utterances": 30}, batch=12, seed=3, epochs=2, max_bad=2)
        trainer.fit(task, data)
        found.append(weights(task))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found[0], weights(task_of(kind)))


def test_what_has_no_alignment_is_counted_and_is_no_number_that_spreads():
    frames = some(2)[0]["frames"]
    short = utterance(frames[:3], [1, 1, 2])  # needs a blank between
    empty = {"frames": frames[:1] * 0, "length": 0, "target": np.zeros(0, np.int64)}
    task = task_of()
    found = task.measure(batch_of([some(1)[0], short, empty], [1.0, 1.0, 0.0]))
    assert float(found["loss"]) == pytest.approx(float(task.measure(batch_of(some(1)))["loss"]), rel=1e-5)
    assert [float(one) for one in found["too_short"]] == [100.0, 2.0]
    found["loss"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in task.parameters())
    transducer = task_of("transducer").measure(batch_of([short]))
    assert float(transducer["loss"]) > 0
    assert float(transducer["too_short"][0]) == 0


def test_a_data_set_with_such_utterances_is_told_of():
    class Hasty(Tones):
        def __init__(self, split):
            super().__init__(split, utterances=20)
            self.lengths = self.lengths[:, ::-1]

    with pytest.warns(UserWarning, match=r"20 of 20 utterances have more labels than frames, and so no alignment"):
        task_of().require(Hasty("train"))


def test_edits_are_counted_and_words_where_labels_spell():
    assert edits(["a", "b", "c"], ["a", "x", "c", "d"]) == 2
    assert edits([], ["a"]) == 1
    assert edits(["long name"], ["long name"]) == 0
    task = task_of().eval()
    task.alphabet = Alphabet(tuple("abcd ef"), spells=True)
    batch = batch_of([utterance(some(1)[0]["frames"], [1, 2, 5, 3, 4])])  # "ab cd"
    found = task._errors(batch, [(1, 2, 5, 3, 3, 6)])  # "ab cce"
    assert found == {"label_error": (200.0, 5), "word_error": (100.0, 2)}
    assert task._mine[0][1:] == ("ab cce", "ab cd", False)


def test_edits_are_those_that_jiwer_counts():
    random = np.random.default_rng(0)
    for _ in range(50):
        right, found = ([str(word) for word in random.integers(0, 4, random.integers(1, 9))] for _ in range(2))
        counted = jiwer.process_words(" ".join(right), " ".join(found))
        assert edits(found, right) == counted.substitutions + counted.deletions + counted.insertions


def test_labels_are_folded_when_transcripts_are_compared():
    task = task_of().eval()
    task.alphabet = Alphabet(("ih", "ix", "q", "s"), folded={"ix": "ih", "q": ""})
    batch = batch_of([utterance(some(1)[0]["frames"], [1, 4, 3])])
    assert task._errors(batch, [(2, 3, 4)]) == {"label_error": (0.0, 2)}
    assert task._mine[0][1:] == ("ix q s", "ih s q", True)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("width", [1, 3])
def test_errors_are_sums_whatever_the_batches(kind, width):
    task = task_of(kind).eval()
    task.width = width
    every = some(4)
    whole = task.measure(batch_of(every))["label_error"]
    apart = [task.measure(batch_of([one]))["label_error"] for one in every]
    assert whole == tuple(map(sum, zip(*apart, strict=True)))
    assert whole[1] == sum(len(one["target"]) for one in every)
    assert len(task._mine) == 8


def test_noise_is_in_the_weights_of_a_step_and_the_same_on_every_pass():
    batches = [batch_of(some(3), step=step) for step in (5, 5, 6)]
    task, plain = task_of(weight_noise=0.075), task_of()
    before = weights(task)
    noisy = [float(task.measure(batch)["loss"]) for batch in batches]
    assert noisy[0] == noisy[1] != noisy[2]
    assert noisy[0] != float(plain.measure(batches[0])["loss"])
    assert torch.equal(weights(task), before)
    # The gradient is that of the network with the noisy weights.
    task.measure(batches[0])["loss"].backward()
    generator = torch.Generator().manual_seed(mixed_seed(0, NOISE, 5))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.075 * torch.randn(parameter.shape, generator=generator))
    plain.measure(batches[0])["loss"].backward()
    for one, other in zip(task.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert float(task.eval().measure(batches[0])["loss"]) == pytest.approx(
        float(task_of().eval().measure(batches[0])["loss"])
    )


def test_labels_are_kept_and_others_refused():
    task, part = task_of(), Tones("train", utterances=20)
    task.require(part)
    task.trainer = lightning.Trainer(**QUIET)
    checkpoint = {}
    task.on_save_checkpoint(checkpoint)
    other = task_of()
    other.restore(checkpoint)
    assert other.alphabet == task.alphabet == Alphabet(tuple("ABCDEFGH"))
    part.classes = ("A", "B")
    with pytest.raises(DataError, match="its labels are not those that the network was trained with"):
        other.require(part)
    with pytest.raises(DataError, match=r"has no `classes`, the names of labels"):
        other.require(object())


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"weight_noise is -0\.1, a standard deviation"):
        task_of(weight_noise=-0.1)
