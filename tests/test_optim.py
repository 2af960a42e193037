"""Optimisers against their formulas, schedules against values worked out by hand."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import nn

from dltk import optim
from dltk.optim import Constant, Cosine, InverseSqrt, MultiStep, Plateau, Step

Walk = tuple[torch.Tensor, list[torch.Tensor]]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), {0: 1.0, 99: 1.0}),
        (Constant(warmup=0.1), {0: 0.1, 4: 0.5, 9: 1.0, 50: 1.0}),
        (Constant(warmup=20), {0: 0.05, 19: 1.0, 50: 1.0}),
        (Step(every=0.25), {0: 1.0, 24: 1.0, 25: 0.1, 50: 0.01, 99: 0.001}),
        (Step(every=30, factor=0.5), {29: 1.0, 30: 0.5, 60: 0.25}),
        (MultiStep(milestones=[0.5, 0.75]), {49: 1.0, 50: 0.1, 74: 0.1, 75: 0.01}),
        (MultiStep(milestones=[10, 20], factor=0.5), {9: 1.0, 10: 0.5, 20: 0.25}),
        (InverseSqrt(warmup=0.25), {0: 1 / 25, 24: 1.0, 99: 0.5}),
        (Cosine(), {0: 1.0, 50: 0.5, 100: 0.0}),
        (Cosine(warmup=0.2, floor=0.1), {0: 1 / 20, 19: 1.0, 60: 0.55, 100: 0.1}),
    ],
)
def test_schedule_at_known_steps(schedule: optim.Schedule, expected: dict[int, float]) -> None:
    assert {step: schedule.factor(step, 100) for step in expected} == pytest.approx(expected)


def test_a_schedule_keeps_its_shape_when_the_run_gets_longer() -> None:
    schedule = MultiStep(milestones=[0.7], factor=0.1)
    assert [schedule.factor(step, 10) for step in range(10)] == [schedule.factor(10 * step, 100) for step in range(10)]


def test_plateau_waits_then_drops_and_survives_a_restart() -> None:
    schedule = Plateau(factor=0.1, patience=1, drops=2)
    for error in (5.0, 4.0, 4.0, 4.0):  # better, better, waited once, waited twice: drop
        schedule.observe(error)
    assert schedule.factor(0, 100) == pytest.approx(0.1)
    again = Plateau(factor=0.1, patience=1, drops=2)
    again.load_state_dict(schedule.state_dict())
    for _ in range(10):
        again.observe(4.0)
    assert again.factor(0, 100) == pytest.approx(0.01), "no more drops than `drops`"


def test_plateau_of_a_metric_that_should_rise() -> None:
    schedule = Plateau(patience=0)
    for accuracy in (0.5, 0.6, 0.7):
        schedule.observe(-accuracy)
    assert schedule.factor(0, 1) == 1.0


def test_sgd_is_the_formula() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 0.5], dtype=torch.float64))
    optimizer = optim.sgd([{"params": [weight]}], lr=0.1, momentum=0.9, weight_decay=0.01)
    expected, velocity = weight.detach().clone(), torch.zeros(2, dtype=torch.float64)
    for _ in range(5):
        optimizer.zero_grad()
        (weight**3).sum().backward()
        optimizer.step()
        velocity = 0.9 * velocity + 3 * expected**2 + 0.01 * expected
        expected = expected - 0.1 * velocity
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-12)


def walked(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], rates: list[float], dtype: torch.dtype) -> Walk:
    """Three parameters after a step at each rate, and what the gradients were."""
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(size, dtype=dtype, generator=generator)) for size in (3, 70, 1)]
    optimizer = make(weights)
    gradients = []
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        for weight in weights:
            weight.grad = torch.randn(weight.shape, dtype=dtype, generator=generator)
        gradients.append(torch.cat([weight.grad.clone() for weight in weights if weight.grad is not None]))
        optimizer.step()
    return torch.cat([weight.detach() for weight in weights]), gradients


DROP = [0.01] * 6 + [0.001] * 6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("rates", [DROP, [0.01, 0.01, 0.0, 0.0, 0.02]], ids=["drop", "rest"])
def test_the_update_rule_of_2012(rates: list[float], momentum: float, dtype: torch.dtype, tolerance: float) -> None:
    """Section 5: v <- 0.9 v - 0.0005 lr w - lr g; w <- w + v."""

    def make(weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        return optim.sgd([{"params": weights}], lr=1.0, momentum=momentum, weight_decay=5e-4, velocity="steps")

    found, gradients = walked(make, rates, dtype)
    expected = walked(make, [], dtype)[0].double()
    velocity = torch.zeros_like(expected)
    for rate, gradient in zip(rates, gradients, strict=True):
        velocity = momentum * velocity - 0.0005 * rate * expected - rate * gradient.double()
        expected = expected + velocity
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


def test_the_rule_of_2012_is_the_usual_one_until_the_rate_changes() -> None:
    def make(velocity: Literal["gradients", "steps"]) -> Callable[[list[nn.Parameter]], torch.optim.Optimizer]:
        return lambda weights: optim.sgd([{"params": weights}], lr=1.0, momentum=0.9, velocity=velocity)

    for rates, alike in ((DROP[:6], True), (DROP, False)):
        usual, paper = (walked(make(velocity), rates, torch.float64)[0] for velocity in ("gradients", "steps"))
        assert torch.allclose(usual, paper, rtol=0, atol=1e-12) == alike


def test_a_velocity_of_steps_does_not_look_ahead() -> None:
    with pytest.raises(ValueError, match="nesterov looks ahead along gradients"):
        optim.sgd([{"params": [nn.Parameter(torch.ones(1))]}], lr=0.1, momentum=0.9, nesterov=True, velocity="steps")


def test_a_velocity_of_steps_survives_a_restart() -> None:
    weight = nn.Parameter(torch.ones(3))

    def make() -> torch.optim.Optimizer:
        return optim.sgd([{"params": [weight]}], lr=0.1, momentum=0.9, velocity="steps")

    first = make()
    weight.grad = torch.tensor([1.0, 2.0, 3.0])
    first.step()
    again = make()
    again.load_state_dict(first.state_dict())
    weight.grad.zero_()
    again.step()
    torch.testing.assert_close(weight.detach(), 1 - 0.1 * (1 + 0.9) * torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (optim.sgd, torch.optim.SGD),
        (
            functools.partial(optim.sgd, momentum=0.9, weight_decay=0.01),
            functools.partial(torch.optim.SGD, momentum=0.9, weight_decay=0.01),
        ),
        (
            functools.partial(optim.sgd, momentum=0.9, nesterov=True),
            functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        ),
        (functools.partial(optim.adam, weight_decay=0.01), functools.partial(torch.optim.Adam, weight_decay=0.01)),
        (functools.partial(optim.adamw, weight_decay=0.01), functools.partial(torch.optim.AdamW, weight_decay=0.01)),
    ],
)
def test_one_kernel_for_all_parameters_is_exact(make: Any, plain: Any) -> None:
    rates = [0.1] * 20
    fused, _ = walked(lambda weights: make([{"params": weights}], lr=0.1), rates, torch.float32)
    loops, _ = walked(lambda weights: plain(weights, lr=0.1, foreach=False), rates, torch.float32)
    assert all(group["fused"] for group in make([{"params": [nn.Parameter(torch.ones(1))]}], lr=0.1).param_groups)
    torch.testing.assert_close(fused, loops, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("velocity", ["gradients", "steps"])
def test_a_first_step_that_is_skipped_in_16_bits_leaves_no_trace(
    velocity: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(gradients: list[float]) -> torch.Tensor:
        weight = nn.Parameter(torch.ones(1000))
        optimizer = optim.sgd([{"params": [weight]}], lr=0.1, momentum=0.9, velocity=velocity)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for gradient in gradients:
            optimizer.zero_grad()
            scaler.scale((weight * gradient).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        return weight.detach()

    # As dirty as memory may be.
    monkeypatch.setattr(torch, "empty_like", lambda like, **more: torch.full_like(like, math.nan, **more))
    assert torch.equal(moved([math.inf, 1.0, 1.0]), moved([1.0, 1.0]))


def test_parameters_that_no_kernel_takes_are_moved_all_the_same() -> None:
    weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    optimizer = optim.sgd([{"params": [weight]}], lr=0.5)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert weight.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamw"])
def test_every_optimiser_descends(name: str) -> None:
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = getattr(optim, name)([{"params": [weight]}], lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
    assert weight.item() ** 2 < 9.0


def test_parameter_groups_take_the_first_pattern_that_matches() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    groups = optim.parameter_groups(net, [{"match": "bias$", "weight_decay": 0.0}, {"match": "^1", "lr": 0.5}])
    shapes = [[tuple(p.shape) for p in group["params"]] for group in groups]
    assert shapes == [[(3, 2)], [(3,), (4,)], [(4, 3)]]
    assert [group.get("lr") for group in groups] == [None, None, 0.5]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"match": "nothing"}], "no parameter's name matches 'nothing'"),
        ([{"match": "("}], "group 0 needs `match`"),
        ([{"lr": 0.1}], "group 0 needs `match`"),
    ],
)
def test_wrong_parameter_groups(groups: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        optim.parameter_groups(nn.Linear(2, 2), groups)


def test_curve_covers_the_run() -> None:
    steps, factors = optim.curve(Cosine(), 1000, points=11)
    assert (steps[0], steps[-1], len(steps)) == (0, 999, 11)
    assert all(math.isfinite(factor) for factor in factors)


@pytest.mark.parametrize("make", [optim.adam, optim.adamw])
def test_groups_have_their_own_decays(make: Callable[..., torch.optim.Optimizer]) -> None:
    net = nn.Linear(2, 2)
    optimizer = make(optim.parameter_groups(net, [{"match": "bias", "beta1": 0.5}]), lr=0.1, beta2=0.9)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.9, 0.9), (0.5, 0.9)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Plateau(patience=-1), "patience is -1, a number of validations. Set 0 or more"),
        (lambda: optim.Plateau(drops=-1), "drops is -1, a number of drops. Set 0 or more"),
        (lambda: optim.Plateau(threshold=-1.0), "threshold is -1.0, a relative improvement. Set 0 or more"),
        (lambda: optim.MultiStep(milestones=[-0.5, 0.5]), "milestones are [-0.5, 0.5], times. Set 0 or more"),
        (lambda: optim.Cosine(floor=-0.1), "floor is -0.1, which multiplies the learning rate. Set 0 or more"),
    ],
)
def test_impossible_schedules(make: Callable[[], optim.Schedule], message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        make()
