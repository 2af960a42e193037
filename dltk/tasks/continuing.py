"""Text that a language model writes: word after word, each drawn from what it says after those before."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Shapes: b texts, t tokens, v words.


@torch.no_grad()
def continued(
    model: nn.Module,
    prompt: Sequence[int],
    *,
    length: int,
    count: int = 1,
    temperature: float = 1.0,
    never: Sequence[int] = (),
    seed: int = 0,
) -> list[list[int]]:
    """Tokens that follow some others.

    Args:
        model: the network, as `dltk.tasks.language` wants it, and with `log_probabilities(known)`.
        prompt: what stands before, one token at least.
        length: tokens to write.
        count: texts (b).
        temperature: by which log-probabilities are divided; 0 takes the likeliest word.
        never: tokens that are not written.
        seed: of what is drawn.
    """
    network: Any = model
    generator = torch.Generator().manual_seed(seed)
    device = next(iter([*model.parameters(), *model.buffers()])).device
    words = torch.tensor([list(prompt)] * count, device=device)  # (b, t)
    state, written = network.start(count).to(device), []
    for _ in range(length):
        known, state = network.read(words, state)
        log_p = network.log_probabilities(known[:, -1]).double().cpu()  # (b, v)
        log_p[:, list(never)] = -torch.inf
        words = _drawn(log_p, temperature, generator)[:, None].to(device)
        written.append(words)
    return torch.cat(written, dim=1).tolist() if written else [[] for _ in range(count)]


def _drawn(log_p: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One word of each row (b, v), (b,)."""
    if temperature == 0:
        return log_p.argmax(1)
    beside = log_p - log_p.amax(1, keepdim=True)  # the likeliest stays finite, however low the temperature
    ends = (beside / temperature).softmax(1).cumsum(1)
    drawn = torch.rand(len(log_p), 1, generator=generator, dtype=torch.float64) * ends[:, -1:]
    return torch.searchsorted(ends, drawn, right=True)[:, 0].clamp(max=log_p.shape[1] - 1)
