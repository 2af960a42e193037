"""Sequences: a recurrent network reads numbers step by step and answers at some of the steps."""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import unrolled
from dltk.tasks.task import Batch, Procedure, Task

# Shapes: b sequences, t steps, x numbers read at each, k steps answered at, y outputs.


class Sequences(Task):
    """Trains a network that reads sequences, and measures how many it answers wrongly.

    Losses of one sequence, means over its k answers:

    - `squared_error`: the sum over the outputs of (o - target)^2; an answer is wrong where one differs by `tolerance`
      or more.
    - `cross_entropy`: -log softmax(o) of the right class; an answer is wrong where another class has the largest score.

    A sequence is wrong where one of its answers is.

    Args:
        model: the network; inputs (b, t, x) and steps (b, k) to outputs (b, k, y).
        loss: which of the losses above.
        tolerance: how far an output may be from its target; 0.04 is the adding problem's (Hochreiter 1997).
        vanishing: weight of the term that keeps gradients from vanishing (`dltk.layers.unrolled.vanishing`) beside the
            loss while training; for `rnn`.
        procedure: optimiser, schedule, clipping, seed.

    Raises:
        ValueError: a setting is impossible, or the network is of another kind.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Literal["squared_error", "cross_entropy"] = "squared_error",
        tolerance: float = 0.04,
        vanishing: float = 0.0,
        procedure: Procedure | None = None,
    ) -> None:
        super().__init__(model, procedure)
        if tolerance <= 0:
            raise ValueError(f"tolerance is {tolerance}, how far an output may be off. Set a number above 0")
        if vanishing < 0:
            raise ValueError(f"vanishing is {vanishing}, the weight of a term. Set 0 or more")
        if vanishing and not hasattr(model, "carried_back"):
            what = f"vanishing is {vanishing}, and {type(model).__name__} has no one matrix that carries gradients back"
            raise ValueError(f"{what}. Set 0, or choose rnn")
        self.loss, self.tolerance, self.vanishing = loss, tolerance, vanishing
        self.outputs: int | None = None

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Loss and wrong sequences of one micro-batch, as sums."""
        weight = batch["weight"]
        if self.vanishing and self.training:
            made, losses, wrong, term = self._kept_from_vanishing(batch)
            more = {"vanishing": ((term.detach() * weight).sum(), weight.sum())}
        else:
            made = self.model(batch["inputs"], batch["at"]).float()  # (b, k, y)
            losses, wrong = self.judge(made, batch["target"])  # each (b,)
            term, more = None, {}
        total = (losses * weight).sum()
        return {
            "loss": total if term is None else total + self.vanishing * (term * weight).sum(),
            "weight": weight.sum(),
            "sequence_error": (100.0 * (wrong * weight).sum(), weight.sum()),
            "scores": made.detach(),
            **more,
        }

    def _kept_from_vanishing(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Outputs (b, k, y), losses (b,), which are wrong (b,), and the term that keeps gradients from vanishing."""
        net: Any = self.model
        found, made = self._unfolded(batch, net.truncate)
        losses, wrong = self.judge(made.float(), batch["target"])
        gradients = torch.autograd.grad(
            losses.sum(), found, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return made, losses, wrong, unrolled.vanishing(net, found, gradients)

    def _unfolded(self, batch: Batch, truncate: int | None = None) -> tuple[list[Tensor], Tensor]:
        """The states after each step, t times (b, m), and the outputs made of them (b, k, y), step by step."""
        net: Any = self.model
        found = unrolled.states(net, batch["inputs"], truncate)
        units = torch.stack([net.units(state) for state in found], dim=1)  # (b, t, n)
        return found, net.output(unrolled.answers(units, batch["at"]))

    def judge(self, made: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (b, k, y), and targets (b, k, y) or classes (b, k), to losses (b,) and which are wrong (b,).

        Raises:
            ValueError: the data have targets of the other kind.
        """
        self.outputs = made.shape[2]
        classes = not target.is_floating_point()
        if classes != (self.loss == "cross_entropy"):
            kind, fitting = ("classes", "cross_entropy") if classes else ("numbers", "squared_error")
            raise ValueError(f"the data's targets are {kind}, the loss is {self.loss}. Set task.loss to {fitting}")
        if classes:
            if int(target.max()) >= made.shape[2]:
                what = f"the data have class {int(target.max())}, the network gives {made.shape[2]} scores"
                raise ValueError(f"{what}. Raise model.output_size")
            losses = F.cross_entropy(made.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
            return losses.mean(1), (made.detach().argmax(2) != target).any(1)
        if made.shape != target.shape:
            what = f"the network gives {made.shape[2]} numbers, the data have {target.shape[2]}"
            raise ValueError(f"{what}. Set model.output_size to {target.shape[2]}")
        off = made - target
        return off.square().sum(2).mean(1), (off.detach().abs() >= self.tolerance).flatten(1).any(1)

    def gradient_flow(self, batch: Batch) -> Tensor:
        """The norms of the loss's gradient by the state after each step (t,), means over the sequences of a batch.

        The gradient by s_t is all that the loss hears of it: through later states, and where an answer is read at t.
        Sequences are laid together at their ends, where most are answered; t is the shortest one's length.
        """
        net: Any = self.model
        with torch.enable_grad():
            found, made = self._unfolded(batch)
            if getattr(net, "logistic_output", False):
                made = torch.sigmoid(made)
            loss = self.judge(made, batch["target"])[0].sum()
            gradients = torch.autograd.grad(loss, found, allow_unused=True, materialize_grads=True)
        norms = torch.stack([gradient.norm(dim=1) for gradient in gradients], dim=1)  # (b, t)
        ends = (batch["at"][:, -1] + 1).tolist()
        shortest = min(ends)
        return torch.stack([row[end - shortest : end] for row, end in zip(norms, ends, strict=True)]).mean(0)

    def expected_loss(self) -> float | None:
        """ln y for the cross-entropy of an untrained network; unknown for the squared error."""
        return math.log(self.outputs) if self.loss == "cross_entropy" and self.outputs else None
