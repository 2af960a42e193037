"""Captioning: the loss by hand, any division of a batch, what is drawn, what is measured, and the beam on pictures."""

import itertools
import math
import sys
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

from dltk.data.datamodule import DataModule
from dltk.data.shape_scenes import ShapeScenes, read
from dltk.errors import DataError
from dltk.layers import tokens
from dltk.layers.tokens import EOS, PAD
from dltk.models.show_and_tell import ShowAndTell
from dltk.models.show_attend_tell import ShowAttendTell
from dltk.optim import sgd
from dltk.tasks import looking
from dltk.tasks.captioning import DECAY, Captioning
from dltk.tasks.decoding import Decoding, Hypothesis, translate
from dltk.tasks.task import Procedure

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SMALL = {
    **{"vocab_size": 20, "encoder": "vgg11", "image": [3, 32, 32], "narrow": 16, "poolings": 3},
    **{"embedding_size": 6, "hidden_size": 8},
}


def network(kind: str = "soft") -> nn.Module:
    torch.manual_seed(0)
    if kind == "tell":
        return ShowAndTell(**SMALL, first_weights=0.4)
    return ShowAttendTell(**SMALL, attention_size=6, attention=kind, dropout=0.0)  # type: ignore[arg-type]


def task_of(kind: str = "soft", **settings: Any) -> Captioning:
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return sgd([{"params": [p for p in model.parameters() if p.requires_grad]}], lr=0.05)

    return Captioning(network(kind), procedure=Procedure(optimizer=optimizer, clip_norm=1.0), **settings)


def data_of(**settings: Any) -> DataModule:
    return DataModule(ShapeScenes, {"held_out": 30}, **{"batch": 12, "seed": 3, "steps": 3, **settings})


def trained(kind: str, steps: int = 3, accumulate: int = 1, **settings: Any) -> Captioning:
    task = task_of(kind, **settings)
    trainer = lightning.Trainer(max_steps=steps, accumulate_grad_batches=accumulate, limit_val_batches=0, **QUIET)
    trainer.fit(task, data_of())
    return task


def weights(task: Captioning) -> Tensor:
    return nn.utils.parameters_to_vector(task.model.parameters()).detach()


def first_batch() -> dict[str, Any]:
    return next(iter(data_of().train_dataloader()))


@pytest.mark.parametrize("kind", ["tell", "soft", "hard"])
def test_the_loss_is_the_sum_of_the_words_negative_log_likelihoods(kind):
    task, batch = task_of(kind, mean=[0.3], std=[0.2]).eval(), first_batch()
    images = (batch["image"].double() / 255 - 0.3) / 0.2
    model = network(kind).double().eval()
    total, count = 0.0, 0
    for image, target in zip(images, batch["target"], strict=True):
        row = target[target != PAD]
        logs = model(image[None], tokens.shifted(row[None]))[0].log_softmax(1)
        total -= float(sum(logs[at, token] for at, token in enumerate(row)).detach())
        count += len(row)
    measures = task.measure(batch)
    assert float(measures["loss"].detach()) == pytest.approx(total, rel=1e-5)
    assert float(measures["weight"]) == 12
    assert tuple(float(one) for one in measures["token_loss"]) == pytest.approx((total, count), rel=1e-5)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_what_weighs_nothing_changes_neither_loss_nor_gradient(kind):
    task = task_of(kind, mixing=0.0, doubly_stochastic=0.7 if kind == "soft" else 0.0).double().train()
    task.baseline = torch.tensor(-20.0, dtype=torch.float64)

    def of(batch):
        measures = task.measure(batch)
        task.zero_grad()
        measures["loss"].backward()
        return measures["loss"].detach(), torch.cat([p.grad.flatten() for p in task.model.parameters()])

    whole, other = first_batch(), first_batch()
    whole["weight"][5] = other["weight"][5] = 0.0
    other["image"][5], other["target"][5] = 0, PAD
    loss, gradient = of(whole)
    again = of(other)
    torch.testing.assert_close(again[0], loss, rtol=0, atol=1e-12)
    torch.testing.assert_close(again[1], gradient, rtol=0, atol=1e-12)
    full = of(first_batch())
    assert abs(float(full[0] - loss)) > 1


@pytest.mark.parametrize("kind", ["tell", "soft", "hard"])
def test_accumulation_changes_nothing(kind):
    whole = trained(kind)
    divided = trained(kind, accumulate=3)
    torch.testing.assert_close(weights(divided), weights(whole), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(whole), weights(task_of(kind)), atol=1e-3)
    if kind == "hard":
        assert float(divided.baseline) == pytest.approx(float(whole.baseline), abs=1e-4)


def test_soft_attention_pays_for_what_it_does_not_see():
    batch = first_batch()
    plain, paying = (task_of("soft", doubly_stochastic=weight).train().measure(batch) for weight in (0.0, 2.0))
    model = network("soft")
    looked = model.look(task_of().pixels(batch["image"]), tokens.shifted(batch["target"]))
    owed = looking.unseen(looked.weights, tokens.real(batch["target"])).sum()
    assert float((paying["loss"] - plain["loss"]).detach()) == pytest.approx(2 * float(owed.detach()), rel=1e-4)
    assert float(paying["token_loss"][0]) == pytest.approx(float(plain["token_loss"][0]))
    evaluated = task_of("soft", doubly_stochastic=2.0).eval().measure(batch)["loss"]
    assert float(evaluated.detach()) == pytest.approx(float(plain["loss"].detach()), rel=1e-5)


def test_drawn_locations_move_the_attention_by_the_reward():
    batch = first_batch()
    task = task_of("hard", mixing=0.0, entropy=0.0).train()

    def of_attention() -> Tensor:
        task.zero_grad()
        task.measure(batch)["loss"].backward()
        return task.model.energy.weight.grad.clone()  # type: ignore[union-attr,operator]

    assert not of_attention().any()  # nothing is expected of the first batch, so that nothing is a reward
    task.baseline = torch.tensor(-15.0)
    once = of_attention()
    assert once.any()
    logs = [float(one[0] / one[1]) for one in task._rewards]
    assert len(set(logs)) == 1  # the same locations are drawn of the same keys in the same step
    task.baseline = torch.tensor(-35.0)
    assert not torch.allclose(of_attention(), once)
    other = first_batch()
    other["info"].step += 1
    task.measure(other)
    assert float(task._rewards[-1][0] / task._rewards[-1][1]) != logs[0]
    task.mixing = 1.0  # all see the mean: an ordinary gradient, and no reward
    task.baseline = None
    assert of_attention().any()
    assert float(task._rewards[-1][1]) == 0


def test_the_moving_average_follows_the_global_batches_and_goes_through_a_checkpoint(tmp_path):
    task = trained("hard", steps=1, mixing=0.25)
    first = float(task.baseline)
    start = task_of("hard", mixing=0.25).train()
    start.measure(first_batch())
    ((total, count),) = [one.tolist() for one in start._rewards]
    assert first == pytest.approx(total / count, rel=1e-5)
    assert 0 < count <= 12
    task._rewards = [torch.tensor([-30.0, 2.0]), torch.tensor([-10.0, 2.0])]
    task.on_before_optimizer_step(None)  # type: ignore[arg-type]
    assert float(task.baseline) == pytest.approx(DECAY * first + (1 - DECAY) * -10)
    state: dict[str, Any] = {}
    task.on_save_checkpoint(state)
    torch.save(state, tmp_path / "state.pt")
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    other = task_of("hard")
    other.trainer = task.trainer
    other.on_load_checkpoint(kept)
    assert float(other.baseline) == float(task.baseline)
    assert other.required_vocabulary().hash == ShapeScenes("train").vocabulary.hash


# Evaluation


def evaluated(task: Captioning) -> dict[str, float]:
    trainer = lightning.Trainer(**QUIET)
    task.require(ShapeScenes("test"))
    trainer.test(task, dataloaders=data_of().eval_dataloader("test"), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def saying(captions: list[str], looks: Any = None) -> Captioning:
    """A task that gives these captions of the test scenes, in their order, looking where `looks` says."""
    part, task, at = ShapeScenes("test", held_out=30), task_of("soft"), iter(range(30))

    def translate(images: Tensor, *, align: bool = False) -> list[list[Hypothesis]]:
        numbers = [next(at) for _ in images]
        rows = [part.vocabulary.encode(captions[number]) for number in numbers]
        return [
            [Hypothesis(row, 0.0, True, None if looks is None else looks(number, row))]
            for number, row in zip(numbers, rows, strict=True)
        ]

    task.translate = translate  # type: ignore[method-assign]
    return task


def test_without_what_scores_captions_nothing_is_trained(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(DataError, match="sacrebleu: is not installed"):
        trained("tell")


def test_perfect_captions_have_the_best_scores():
    part = ShapeScenes("test", held_out=30)
    right = [references[0] for references in part.batch(torch.arange(30).numpy())["references"]]
    found = evaluated(saying(right))
    for name in ("exact_match", "truth", "objects_true", "grammatical", "bleu1", "bleu2", "bleu3", "bleu4"):
        assert found[f"test/{name}"] == pytest.approx(100)
    assert found["test/perplexity"] == pytest.approx(math.exp(found["test/token_loss"]), rel=1e-6)


def test_what_is_true_and_what_is_exact_are_told_apart():
    part = ShapeScenes("test", held_out=30)
    scenes = [read(scene) for scene in part.batch(torch.arange(30).numpy())["scene"]]
    opposite = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
    captions = [references[0] for references in part.batch(torch.arange(30).numpy())["references"]]
    turned = []
    for caption in captions:
        relation = next(one for one in opposite if f" {one} " in caption)
        first, second = caption.split(f" {relation} ")
        turned.append((f"{second} {opposite[relation]} {first}", f"{first} {opposite[relation]} {second}"))
    found = evaluated(saying([true for true, _ in turned]))
    assert (found["test/truth"], found["test/exact_match"]) == (100, 0)
    found = evaluated(saying([false for _, false in turned]))
    assert (found["test/truth"], found["test/objects_true"], found["test/grammatical"]) == (0, 100, 100)
    assert len(scenes) == 30


def test_attention_is_measured_in_the_boxes_of_what_is_named():
    part = ShapeScenes("test", held_out=30)
    batch = part.batch(torch.arange(30).numpy())
    scenes = [read(scene) for scene in batch["scene"]]
    captions = [references[0] for references in batch["references"]]

    def at_pixel(number: int, row: list[int]) -> Tensor:
        """On the first object's middle for all words, on a grid of 4 × 4."""
        one = scenes[number][0]
        weights = torch.zeros(len(row) + 1, 4, 4)
        weights[:, (one.top + one.bottom) // 16, (one.left + one.right) // 16] = 1
        return weights.flatten(1)

    # By hand: the share of that square of 8 × 8 pixels that each named object's box covers; four words, two of each.
    shares, chances = [], []
    for scene in scenes:
        y, x = 8 * ((scene[0].top + scene[0].bottom) // 16), 8 * ((scene[0].left + scene[0].right) // 16)
        for one in scene[:2]:
            picture = torch.zeros(32, 32)
            picture[one.top : one.bottom, one.left : one.right] = 1
            shares.append(float(picture[y : y + 8, x : x + 8].mean()))
            chances.append(float(picture.mean()))
    found = evaluated(saying(captions, at_pixel))
    assert found["test/attention_on_object"] == pytest.approx(100 * sum(shares) / len(shares))
    assert found["test/attention_by_chance"] == pytest.approx(100 * sum(chances) / len(chances))
    # Looking everywhere alike is chance.
    found = evaluated(saying(captions, lambda number, row: torch.full((len(row) + 1, 16), 1 / 16)))
    assert found["test/attention_on_object"] == pytest.approx(found["test/attention_by_chance"], rel=1e-6)


@pytest.mark.parametrize("kind", ["tell", "soft", "hard"])
def test_a_wide_beam_finds_the_likeliest_of_all_captions_of_a_picture(kind):
    torch.manual_seed(1)
    model: Any = network(kind).double().eval()
    with torch.no_grad():
        model.output.weight.mul_(8)
        model.output.bias[list(range(7, 20))] = -1e9  # three words and the end are left
        model.output.bias[[PAD, 1, 2]] = -1e9
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    how = Decoding(width=40, plus=3, align=kind != "tell")
    found = translate([model], images, how)
    for at in range(2):
        best: tuple[float, list[int]] = (-math.inf, [])
        for length in range(3):
            for words in itertools.product([4, 5, 6], repeat=length):
                row = torch.tensor([[*words, EOS]])
                logs = model(images[at : at + 1], tokens.shifted(row))[0].log_softmax(1)
                best = max(best, (float(logs.gather(1, row.T).sum().detach()), list(words)))
        assert found[at][0].score == pytest.approx(best[0], abs=1e-5)
        assert found[at][0].tokens == best[1]
        if kind != "tell":
            assert found[at][0].alignment is not None
            assert found[at][0].alignment.shape == (len(best[1]) + 1, 16)
            torch.testing.assert_close(found[at][0].alignment.sum(1), torch.ones(len(best[1]) + 1))
    (one,) = translate([model], images[:1], Decoding(temperature=1.0, seed=5, plus=4))
    (again, _) = translate([model], images, Decoding(temperature=1.0, seed=5, plus=4))
    assert one[0].tokens == again[0].tokens  # what is drawn does not depend on the pictures beside


def test_networks_write_together_and_others_are_refused():
    tasks = [task_of("soft"), task_of("tell")]
    for task in tasks:
        task.require(ShapeScenes("test"))
    tasks[0].join(tasks[1:])
    assert not tasks[0].looks  # one of them has no attention
    found = evaluated(tasks[0])
    assert "test/loss" not in found
    assert "test/truth" in found
    images = first_batch()["image"][:2]
    (ours, _), (alone, _) = tasks[0].translate(images), task_of("soft").translate(images)
    assert ours[0].score != alone[0].score


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"longest": 0}, "longest is 0, words of a caption. Set at least 1"),
        ({"reward": -1.0}, "reward is -1.0. Set 0 or more"),
        ({"mixing": 1.5}, "mixing is 1.5, a share. Set 0 to 1"),
        ({"std": [0.0]}, "std is [0.0], a scale"),
        ({"kind": "hard", "doubly_stochastic": 1.0}, "doubly_stochastic is 1.0, a penalty of soft attention"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        task_of(**settings)
    assert str(caught.value).startswith(message)
