"""The loss contract: however a global batch is divided, the step is the same."""

from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from dltk.data.datamodule import DataModule
from dltk.errors import DataError
from dltk.optim import Plateau, sgd
from dltk.tasks.classification import Classification
from dltk.tasks.task import Procedure, mixed_seed


class Patterns:
    """Sixty tiny pictures of three classes; the numbers in `broken` can't be read."""

    def __init__(self, *, split: str, data_dir: str | None = None, broken: tuple[int, ...] = ()) -> None:
        generator = torch.Generator().manual_seed(len(split))
        self.images = torch.randint(0, 256, (60, 1, 4, 4), dtype=torch.uint8, generator=generator)
        self.broken = broken if split == "train" else ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number in self.broken:
            raise DataError("", f"{number}", "is damaged")
        return {"image": self.images[number], "target": number % 3}


def trained(
    steps: int = 5, accumulate: int = 1, broken: tuple[int, ...] = (), plugins: Any = None, **procedure: Any
) -> Classification:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return sgd([{"params": list(model.parameters())}], lr=0.1, momentum=0.9)

    task = Classification(net, procedure=Procedure(optimizer=optimizer, **procedure))
    data = DataModule(Patterns, {"broken": broken}, batch=16, seed=3, epochs=4, max_bad=len(broken))
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        plugins=plugins,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, data)
    return task


def weights(task: Classification) -> Tensor:
    return nn.utils.parameters_to_vector(task.model.parameters()).detach()


@pytest.mark.parametrize("accumulate", [2, 3, 16])
def test_accumulation_changes_nothing(accumulate: int) -> None:
    torch.testing.assert_close(weights(trained(accumulate=accumulate)), weights(trained()), rtol=0, atol=2e-7)


def test_clipping_is_of_the_global_batch() -> None:
    one, many = trained(clip_norm=0.05), trained(clip_norm=0.05, accumulate=4)
    torch.testing.assert_close(weights(many), weights(one), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(one), weights(trained())), "clipping must have struck"


@pytest.mark.parametrize("clip", [{"clip_norm": 0.05}, {"clip_value": 0.02}], ids=str)
def test_clipping_is_of_the_gradient_not_of_its_multiple_that_half_precision_wants(clip: dict[str, float]) -> None:
    half = trained(plugins=MixedPrecision("16-mixed", "cpu"), **clip)
    torch.testing.assert_close(weights(half), weights(trained(**clip)), rtol=0, atol=2e-4)
    assert not torch.allclose(weights(half), weights(trained(steps=0)), rtol=0, atol=5e-3), "the weights have moved"


@pytest.mark.parametrize("accumulate", [1, 3])
def test_damaged_samples_leave_the_mean_of_the_others(accumulate: int) -> None:
    """One step by hand: the mean over the undamaged samples of the first global batch."""
    broken = tuple(range(0, 60, 4))
    start = trained(steps=0)
    data = DataModule(Patterns, {"broken": broken}, batch=16, seed=3, epochs=1, max_bad=60)
    batch = next(iter(data.train_dataloader()))
    good = batch["weight"] > 0
    assert 0 < good.sum() < 16
    loss = nn.functional.cross_entropy(start(batch["image"][good]), batch["target"][good])
    gradients = torch.autograd.grad(loss, list(start.model.parameters()))
    expected = weights(start) - 0.1 * torch.cat([g.flatten() for g in gradients])
    stepped = trained(steps=1, accumulate=accumulate, broken=broken)
    torch.testing.assert_close(weights(stepped), expected, rtol=0, atol=2e-7)


def test_plateau_hears_of_the_validation() -> None:
    schedule = Plateau(patience=0, threshold=1.0)  # nothing counts as an improvement
    trained(steps=12, schedule=schedule, monitor="val/top1_error")
    assert schedule.done > 0


def test_max_norm_is_kept_after_each_step() -> None:
    class Bounded(nn.Linear):
        def constrain(self) -> None:
            self.weight.clamp_(-0.01, 0.01)

    task = Classification(
        nn.Sequential(nn.Flatten(), Bounded(16, 3)),
        procedure=Procedure(optimizer=lambda m: sgd(list(m.parameters()), lr=1.0)),
    )
    task.model.constrain = task.model[1].constrain  # type: ignore[operator, union-attr, assignment]
    data = DataModule(Patterns, batch=16, epochs=1)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    lightning.Trainer(accelerator="cpu", max_steps=2, **quiet).fit(task, data)
    assert task.model[1].weight.abs().max() <= 0.01  # type: ignore[union-attr, operator]


def test_mixed_seeds_differ() -> None:
    seeds = {mixed_seed(a, b, c) for a in range(20) for b in range(20) for c in range(20)}
    assert len(seeds) == 8000
    assert all(0 <= seed < 2**63 for seed in seeds)
