"""All steps of a decoder that searches a sentence while the right words are known, and their gradient by hand.

What a step computes is in `dltk.models.rnnsearch`: its `attend` and the gated unit. The way back is the same sum that
autograd makes, in another order: the gradients of weights, annotations and keys are made once from all steps instead
of step by step, each time in a tensor of their size. So these are not what a step of training waits for any more. The
sums agree to rounding, which is tested.
"""

# Shapes: b sentences, s source tokens, t target tokens, n units, a units of the alignment.

from typing import Any

import torch
from torch import Tensor

from dltk.layers.gated_unit import GatedUnit, Inside, at_one_precision, back, forth, of_weights

KEPT = 6  # tensors of a step: hidden, weights, and those inside the unit


def searching(
    s: Tensor,
    projected: Tensor,
    annotations: Tensor,
    keys: Tensor,
    real: Tensor,
    unit: GatedUnit,
    query: Tensor,
    energy: Tensor,
    context: Tensor,
) -> tuple[Tensor, Tensor]:
    """The states before each word (b, t, n), and the contexts that they find (b, t, 2n).

    Args:
        s: the first state (b, n).
        projected: what the words before give to the gates (b, t, 3n).
        annotations: of the source (b, s, 2n).
        keys: U h of each (b, s, a).
        real: which source tokens are no padding (b, s).
        unit: the decoder's.
        query: W (a, n).
        energy: v (1, a).
        context: C_z above C_r above C (3n, 2n).
    """
    weights = (query, energy, context, unit.gates.weight, unit.candidate.weight)
    given = at_one_precision(s, projected, annotations, keys, *weights)
    if not torch.is_grad_enabled():
        return _steps(real, *given)
    found: tuple[Tensor, Tensor] = _Searching.apply(real, *given)
    return found


def _steps(
    real: Tensor,
    s: Tensor,
    projected: Tensor,
    annotations: Tensor,
    keys: Tensor,
    query: Tensor,
    energy: Tensor,
    context: Tensor,
    gates: Tensor,
    candidate: Tensor,
    *,
    kept: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """States (b, t, n) and contexts (b, t, 2n); what the way back needs of each step is added to `kept`."""
    states, contexts = [], []
    column, padding = energy.T, ~real  # (a, 1), (b, s)
    with torch.autocast(s.device.type, enabled=False):
        for step in range(projected.shape[1]):
            hidden = ((s @ query.T)[:, None] + keys).tanh_()  # (b, s, a)
            # A sample without a token has no finite energy; its weights are equal then, and it counts for nothing.
            energies = (hidden @ column).squeeze(2).masked_fill_(padding, torch.finfo(s.dtype).min)  # (b, s)
            weights = torch.softmax(energies, dim=1)  # (b, s)
            c = torch.bmm(weights[:, None], annotations).squeeze(1)  # (b, 2n)
            states.append(s)
            contexts.append(c)
            s, inside = forth(torch.addmm(projected[:, step], c, context.T), s, gates, candidate)
            if kept is not None:
                kept += [hidden, weights, *inside]
    return torch.stack(states, 1), torch.stack(contexts, 1)


class _Searching(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, real: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """States (b, t, n) and contexts (b, t, 2n)."""
        kept: list[Tensor] = []
        found = _steps(real, *given, kept=kept)
        _, _, annotations, _, *weights = given
        ctx.save_for_backward(*found, real, annotations, *weights, *kept)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of states (b, t, n) and contexts (b, t, 2n) to those of the arguments."""
        states, contexts, real, annotations, query, energy, context, gates, candidate, *kept = ctx.saved_tensors
        d_states, d_contexts = gradients
        b, t, n = states.shape
        da = states.new_empty(t, b, 3 * n)
        dc = contexts.new_empty(t, b, 2 * n)
        dq = states.new_empty(t, b, query.shape[0])
        d_keys = torch.zeros_like(kept[0])  # (b, s, a); all but the factor v
        d_energy = torch.zeros_like(energy)
        ds = torch.zeros_like(states[:, 0])
        with torch.autocast(states.device.type, enabled=False):
            for step in reversed(range(t)):
                s = states[:, step]
                hidden, weights, *inside = kept[KEPT * step : KEPT * (step + 1)]
                ds = back(ds, s, Inside(*inside), gates, candidate, da[step])
                torch.addmm(d_contexts[:, step], da[step], context, out=dc[step])
                d_weights = torch.bmm(annotations, dc[step][:, :, None]).squeeze(2)  # (b, s)
                d_energies = weights * (d_weights - (weights * d_weights).sum(1, keepdim=True)) * real  # (b, s)
                d_energy += torch.bmm(d_energies[:, None], hidden).sum(0)
                # Of tanh(x), with y = tanh(x): 1 - y^2.
                slope = torch.addcmul(hidden.new_ones(()), hidden, hidden, value=-1)  # (b, s, a)
                dq[step] = torch.bmm(d_energies[:, None], slope).squeeze(1) * energy  # (b, a)
                d_keys.addcmul_(d_energies[:, :, None], slope)
                ds = torch.addmm(ds + d_states[:, step], dq[step], query)
            rh = kept[KEPT - 1 :: KEPT]
            before = states.transpose(0, 1)  # (t, b, n)
            d_gates, d_candidate = of_weights(da, before, rh)
            d_query = dq.flatten(0, 1).T @ before.flatten(0, 1)
            d_context = da.flatten(0, 1).T @ contexts.transpose(0, 1).flatten(0, 1)
            weights = torch.stack(kept[1::KEPT], dim=2)  # (b, s, t)
            d_annotations = torch.bmm(weights, dc.transpose(0, 1))
        # In the order of the arguments.
        return (
            *(None, ds, da.transpose(0, 1), d_annotations, d_keys * energy),
            *(d_query, d_energy, d_context, d_gates, d_candidate),
        )
