"""Optimisers and schedules: functions and classes whose signatures are the `optimizer` and `schedule` settings.

The learning rate of step t is `lr * schedule.factor(t, total)`. Lengths of time in a schedule are fractions of the run
when at most 1, and optimiser steps when above 1, so that a recipe keeps its shape when its length changes.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.sgd import sgd as functional_sgd

Groups = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """What every optimiser takes beside its own arguments."""

    groups: list[dict[str, Any]] = field(default_factory=list)  # {match: regular expression, lr: …, weight_decay: …}


def sgd(
    params: Groups,
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    velocity: Literal["gradients", "steps"] = "gradients",
) -> Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum: v <- momentum v + g + weight_decay w; w <- w - lr v.

    Args:
        lr: learning rate.
        momentum: share of the previous step that is kept.
        weight_decay: strength of the L2 penalty.
        nesterov: look ahead along the momentum.
        velocity: what is kept: gradients, as above; or steps, v <- momentum v - lr (g + weight_decay w); w <- w + v,
            as in Krizhevsky et al., NIPS 2012, section 5. The two differ after a change of the rate.
    """
    settings: dict[str, Any] = {
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "fused": _can_be_fused(params),
    }
    if velocity == "steps":
        if nesterov:
            raise ValueError("nesterov looks ahead along gradients. Leave it out, or set velocity=gradients")
        return StepMomentum(params, **settings)
    made = torch.optim.SGD(params, nesterov=nesterov, **settings)
    made.register_step_pre_hook(_begin_at_rest)
    return made


def _begin_at_rest(optimizer: Optimizer, *_: Any) -> None:
    """Give each parameter a velocity of 0 before its first step, as the rule says.

    Torch's one kernel for all would write the first gradient into memory that nobody wrote before, and where that step
    is skipped, for a gradient that 16 bits do not hold, take what lies there for the velocity from then on.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


class StepMomentum(torch.optim.SGD):
    """v <- momentum v - lr (g + weight_decay w); w <- w + v (Krizhevsky et al., NIPS 2012, section 5).

    torch's rule u <- momentum u + (1 - dampening) (g + weight_decay w); w <- w - rate u says the same where dampening
    is 1 + lr and the rate is -1. So its kernels do it, and `momentum_buffer` is the paper's v.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, which the velocity includes.
        momentum: share of the previous step that is kept.
        weight_decay: strength of the L2 penalty.
        fused: one kernel for all parameters; they must lie where torch has it.
    """

    def __init__(self, params: Any, *, lr: float, momentum: float, weight_decay: float, fused: bool = False) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the parameters; the closure, if there is one, computes the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._move(group)
        return loss

    def _move(self, group: dict[str, Any]) -> None:
        moved = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in moved:
            if "momentum_buffer" not in self.state[parameter]:
                # Torch's own first step takes the gradient for the velocity, undamped.
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        kept = group["momentum"] != 0  # without it torch has no velocity, and no dampening
        functional_sgd(
            moved,
            [parameter.grad for parameter in moved],
            [self.state[parameter]["momentum_buffer"] for parameter in moved],
            fused=group["fused"],
            # From a GradScaler, which leaves it to a fused optimiser to unscale the gradients or to stand still.
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=-1.0 if kept else group["lr"],
            dampening=1.0 + group["lr"] if kept else 0.0,
            nesterov=False,
            maximize=False,
        )


def _can_be_fused(params: Groups) -> bool:
    """Whether torch has one kernel for all parameters, exact to the rounding: where they lie, and of their kind.

    It has not for each optimiser where a process has only a part of each parameter (DTensor).
    """
    groups = [group["params"] if isinstance(group, Mapping) else [group] for group in params]
    places = {parameter.device.type for group in groups for parameter in group}
    return places <= {"cpu", "cuda"} and all(
        parameter.is_floating_point() and parameter.layout is torch.strided and type(parameter.data) is torch.Tensor
        for group in groups
        for parameter in group
    )


def rmsprop(
    params: Groups,
    *,
    lr: float = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Divide the gradient by a running root mean square (Tieleman and Hinton, Coursera lecture 6.5, 2012).

    Args:
        lr: learning rate.
        alpha: decay of the mean square.
        eps: added to the root.
        momentum: share of the previous step that is kept.
        weight_decay: strength of the L2 penalty.
    """
    return torch.optim.RMSprop(params, lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=weight_decay)


def adagrad(params: Groups, *, lr: float = 0.01, eps: float = 1e-10, weight_decay: float = 0.0) -> Optimizer:
    """Divide the gradient by the root of the sum of all its squares (Duchi, Hazan, Singer, JMLR 12, 2011).

    Args:
        lr: learning rate.
        eps: added to the root.
        weight_decay: strength of the L2 penalty.
    """
    return torch.optim.Adagrad(params, lr=lr, eps=eps, weight_decay=weight_decay)


def adadelta(
    params: Groups, *, lr: float = 1.0, rho: float = 0.95, eps: float = 1e-6, weight_decay: float = 0.0
) -> Optimizer:
    """Steps in the units of the weights (Zeiler, arXiv 1212.5701, algorithm 1).

    Args:
        lr: factor of the step; 1 in the paper.
        rho: decay of both running means.
        eps: added under both roots.
        weight_decay: strength of the L2 penalty.
    """
    return torch.optim.Adadelta(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)


def adam(
    params: Groups,
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1).

    Args:
        lr: learning rate.
        beta1: decay of the mean gradient.
        beta2: decay of the mean square.
        eps: added to the root.
        weight_decay: strength of the L2 penalty, part of the gradient.
    """
    groups = _with_betas(params, beta1, beta2)
    settings: dict[str, Any] = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay}
    return torch.optim.Adam(groups, fused=_can_be_fused(groups), **settings)


def adamw(
    params: Groups,
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter, arXiv 1711.05101).

    Args:
        lr: learning rate.
        beta1: decay of the mean gradient.
        beta2: decay of the mean square.
        eps: added to the root.
        weight_decay: share of the weights taken away at each step, times the learning rate.
    """
    groups = _with_betas(params, beta1, beta2)
    settings: dict[str, Any] = {"lr": lr, "betas": (beta1, beta2), "eps": eps, "weight_decay": weight_decay}
    return torch.optim.AdamW(groups, fused=_can_be_fused(groups), **settings)


def _with_betas(params: Groups, beta1: float, beta2: float) -> Groups:
    """Groups whose own `beta1` and `beta2` are one pair, as torch reads them; it ignores what it does not know."""
    pairs = []
    for group in params:
        rest = {key: value for key, value in group.items() if key not in ("beta1", "beta2")}
        pairs.append({**rest, "betas": (group.get("beta1", beta1), group.get("beta2", beta2))})
    return pairs


def parameter_groups(model: nn.Module, groups: Iterable[Mapping[str, Any]]) -> Groups:
    """The model's trainable parameters by the first pattern that their name matches; the rest come first.

    Args:
        model: the network.
        groups: mappings with `match` (a regular expression, searched in the parameter's name) and any arguments of
            the optimiser that differ there.

    Raises:
        ValueError: a pattern matches no parameter, or is not a regular expression.
    """
    rules = [dict(group) for group in groups]
    for number, rule in enumerate(rules):
        try:
            rule["match"] = re.compile(rule["match"])
        except (KeyError, TypeError, re.error) as error:
            raise ValueError(
                f"group {number} needs `match`, a regular expression of parameter names: {error!r}"
            ) from None
    found: Groups = [{"params": []}] + [
        {"params": [], **{key: value for key, value in rule.items() if key != "match"}} for rule in rules
    ]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            which = next((i for i, rule in enumerate(rules, start=1) if rule["match"].search(name)), 0)
            found[which]["params"].append(parameter)
    for rule, group in zip(rules, found[1:], strict=True):
        if not group["params"]:
            raise ValueError(f"no parameter's name matches {rule['match'].pattern!r}")
    return [group for group in found if group["params"]]


def _steps(length: float, total: int) -> float:
    """A length of time in optimiser steps: fractions of the run up to 1, steps above."""
    return length * total if length <= 1 else length


def _require(right: bool, otherwise: str) -> None:
    if not right:
        raise ValueError(otherwise)


def _require_factor(name: str, factor: float) -> None:
    _require(0 <= factor < math.inf, f"{name} is {factor}, which multiplies the learning rate. Set 0 or more")


class Schedule:
    """The learning rate over a run, as a factor of the recipe's `lr`.

    Args:
        warmup: linear rise from zero, in steps (above 1) or as a fraction of the run.
    """

    def __init__(self, *, warmup: float = 0.0) -> None:
        _require(0 <= warmup < math.inf, f"warmup is {warmup}, a length of time. Set 0 or more")
        self.warmup = warmup

    def factor(self, step: int, total: int) -> float:
        """The factor of step `step` (0 .. total-1)."""
        rise = _steps(self.warmup, total)
        return min(1.0, (step + 1) / rise) * self.after_warmup(step, total) if rise else self.after_warmup(step, total)

    def after_warmup(self, step: int, total: int) -> float:
        """The factor without the warm-up."""
        raise NotImplementedError

    def observe(self, error: float) -> None:
        """Hear of a validation's monitored value; only plateau schedules listen."""

    def state_dict(self) -> dict[str, Any]:
        """What a restart must know."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""


class Constant(Schedule):
    """The same learning rate throughout.

    Args:
        warmup: linear rise from zero, in steps (above 1) or as a fraction of the run.
    """

    def __init__(self, *, warmup: float = 0.0) -> None:
        super().__init__(warmup=warmup)

    def after_warmup(self, step: int, total: int) -> float:
        """One."""
        return 1.0


class Step(Schedule):
    """Multiply by `factor` every so often.

    Args:
        every: time between drops, in steps (above 1) or as a fraction of the run.
        factor: what the rate is multiplied by at each drop.
        warmup: linear rise from zero, in steps (above 1) or as a fraction of the run.
    """

    def __init__(self, *, every: float, factor: float = 0.1, warmup: float = 0.0) -> None:
        super().__init__(warmup=warmup)
        _require(0 < every < math.inf, f"every is {every}, a length of time. Set a number above 0")
        _require_factor("factor", factor)
        self.every, self.drop = every, factor

    def after_warmup(self, step: int, total: int) -> float:
        """factor to the number of drops so far."""
        return self.drop ** int(step // max(1.0, _steps(self.every, total)))


class MultiStep(Schedule):
    """Multiply by `factor` at each milestone.

    Args:
        milestones: when the rate drops, in steps (above 1) or as fractions of the run.
        factor: what the rate is multiplied by at each milestone.
        warmup: linear rise from zero, in steps (above 1) or as a fraction of the run.
    """

    def __init__(self, *, milestones: list[float], factor: float = 0.1, warmup: float = 0.0) -> None:
        super().__init__(warmup=warmup)
        rising = list(milestones) == sorted(milestones)
        _require(rising, f"milestones are {list(milestones)}. Write them in rising order")
        _require(min(milestones, default=0) >= 0, f"milestones are {list(milestones)}, times. Set 0 or more")
        _require_factor("factor", factor)
        self.milestones, self.drop = list(milestones), factor

    def after_warmup(self, step: int, total: int) -> float:
        """factor to the number of milestones passed."""
        return self.drop ** sum(step >= _steps(milestone, total) for milestone in self.milestones)


class Plateau(Schedule):
    """Multiply by `factor` when the monitored metric has not improved for more than `patience` validations.

    Args:
        factor: what the rate is multiplied by at each drop.
        patience: validations without improvement that are borne.
        threshold: relative improvement that counts.
        drops: drops at most.
        warmup: linear rise from zero, in steps (above 1) or as a fraction of the run.
    """

    def __init__(
        self,
        *,
        factor: float = 0.1,
        patience: int = 3,
        threshold: float = 1e-3,
        drops: int = 3,
        warmup: float = 0.0,
    ) -> None:
        super().__init__(warmup=warmup)
        _require_factor("factor", factor)
        _require(patience >= 0, f"patience is {patience}, a number of validations. Set 0 or more")
        _require(0 <= threshold < math.inf, f"threshold is {threshold}, a relative improvement. Set 0 or more")
        _require(drops >= 0, f"drops is {drops}, a number of drops. Set 0 or more")
        self.drop, self.patience, self.threshold, self.max_drops = factor, patience, threshold, drops
        self.best, self.waited, self.done = math.inf, 0, 0

    def observe(self, error: float) -> None:
        """Count validations without improvement (`error` falls when things get better)."""
        if error < self.best - self.threshold * abs(self.best) or math.isinf(self.best):
            self.best, self.waited = error, 0
            return
        self.waited += 1
        if self.waited > self.patience and self.done < self.max_drops:
            self.done, self.waited = self.done + 1, 0

    def after_warmup(self, step: int, total: int) -> float:
        """factor to the number of drops so far."""
        return self.drop**self.done

    def state_dict(self) -> dict[str, Any]:
        """Best value, validations waited, drops done."""
        return {"best": self.best, "waited": self.waited, "done": self.done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.best, self.waited, self.done = state["best"], state["waited"], state["done"]


class InverseSqrt(Schedule):
    """Linear warm-up, then the inverse square root of the step (Vaswani et al., arXiv 1706.03762, equation 3).

    Args:
        warmup: length of the rise, in steps (above 1) or as a fraction of the run; the factor is 1 at its end.
    """

    def __init__(self, *, warmup: float = 0.05) -> None:
        super().__init__(warmup=warmup)
        _require(warmup > 0, "warmup is 0, and the decay starts at its end. Set a number above 0")

    def after_warmup(self, step: int, total: int) -> float:
        """One up to the end of the warm-up, then its decay."""
        return min(1.0, math.sqrt(max(1.0, _steps(self.warmup, total)) / (step + 1)))


class Cosine(Schedule):
    """Half a cosine from 1 to `floor` after the warm-up (Loshchilov and Hutter, arXiv 1608.03983, equation 5).

    Args:
        warmup: linear rise from zero, in steps (above 1) or as a fraction of the run.
        floor: the factor at the end of the run.
    """

    def __init__(self, *, warmup: float = 0.0, floor: float = 0.0) -> None:
        super().__init__(warmup=warmup)
        _require_factor("floor", floor)
        self.floor = floor

    def after_warmup(self, step: int, total: int) -> float:
        """1 at the end of the warm-up, `floor` at the end of the run."""
        rise = _steps(self.warmup, total)
        done = min(1.0, max(0.0, (step - rise) / max(1.0, total - rise)))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))


def curve(schedule: Schedule, total: int, points: int = 200) -> tuple[Sequence[int], Sequence[float]]:
    """Steps and factors of a schedule at evenly spaced points, for drawing."""
    steps = sorted({min(total - 1, round(i * (total - 1) / max(1, points - 1))) for i in range(points)})
    return steps, [schedule.factor(step, total) for step in steps]
