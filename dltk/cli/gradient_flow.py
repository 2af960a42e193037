"""How far errors reach back: the norm of the loss's gradient by the state after each step, as the article tells it.

LeCun, Bengio, Hinton, "Deep learning", Nature 521 (2015), recurrent networks: "the backpropagated gradients either grow
or shrink at each time step, so over many time steps they typically explode or vanish".
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from dltk.assemble import build_data, build_task, load
from dltk.cli.figures import figure
from dltk.errors import LaunchError
from dltk.tasks.sequences import Sequences

if TYPE_CHECKING:
    from dltk.run.folder import RunFolder

SEQUENCES = 64  # of the validation part, over which norms are averaged
COLORS = ("#c0392b", "#2563a8", "#2e7d32", "#8e44ad", "#b7791f")


class Flow(NamedTuple):
    """The norms of dL/ds_t of one run."""

    run: str
    first: list[float]  # with the first weights, by step
    trained: list[float]  # with those of the checkpoint

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return self._asdict()


def flow_of(folder: "RunFolder", checkpoint: str) -> Flow:
    """Measure one run on its own validation sequences, with its first weights and with a checkpoint's.

    Raises:
        LaunchError: its network reads no sequences, or there is no such checkpoint.
    """
    trained = load(folder, checkpoint)
    net: Any = trained.model
    if not isinstance(trained, Sequences) or not hasattr(net, "step"):
        name = folder.recipe["model"]["architecture"]
        remedy = "Draw a run of a recurrent network, such as the recipe lstm_adding."
        raise LaunchError(folder.path, name, "reads no sequences step by step", remedy)
    part = build_data(folder.recipe).part("val")
    batch = part.batch(np.arange(min(SEQUENCES, len(part))))
    first: Any = build_task(folder.recipe).eval()
    norms = [task.gradient_flow(batch).tolist() for task in (first, trained)]
    return Flow(folder.name, *norms)


def draw_flows(flows: Sequence[Flow]) -> Figure:
    """One line for each run, broken with its first weights; the steps count back from the last."""
    sheet = figure(7, 4.5)
    axes = sheet.subplots()
    least = torch.finfo(torch.float32).tiny  # what is less has vanished
    for at, flow in enumerate(flows):
        for norms, style, what in ((flow.first, "--", "first weights"), (flow.trained, "-", "trained")):
            steps = np.arange(1 - len(norms), 1)
            shown = np.maximum(norms, least)
            axes.semilogy(steps, shown, style, color=COLORS[at % len(COLORS)], label=f"{flow.run}, {what}")
    axes.set(xlabel="step $t$, counted from the last", ylabel=r"$\|\partial L / \partial s_t\|$, mean over sequences")
    axes.set_title("How far the loss's gradient reaches back")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return sheet
