"""What a step of CTC takes beside what torch's own LSTM, which has no peepholes, would allow.

`python -m pytest -s -m long tests/benchmarks/test_speech_step.py`. Both are trained on the same utterances of one
batch, in turns, one thread, in seconds of the processor; torch's reads the padding as it reads frames. The aim is for
the paper's network; of small ones, whose matrices are no work, it is told what the steps around these take.
"""

import statistics
import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.models.deep_blstm import DeepBLSTM

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

LEAST = 0.6  # frames a second, of those that torch's own would allow
ROUNDS = 7
# Cells of a layer, layers, utterances, frames of the longest: of the paper, of blstm_prompts, of blstm_tones.
CASES = {"CTC-3l-250h": (250, 3, 16, 300), "2l-96h": (96, 2, 8, 120), "1l-64h": (64, 1, 32, 60)}


class Plain(nn.Module):
    """Layers of torch's own, and scores."""

    def __init__(self, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.LSTM(123, hidden_size, num_layers, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * hidden_size, 62)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        return self.output(self.layers(frames)[0])


def stepper(model: nn.Module, frames: Tensor, lengths: Tensor, target: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        logs = torch.log_softmax(model(frames, lengths), 2).transpose(0, 1)
        F.ctc_loss(logs, target, lengths, (target > 0).sum(1), reduction="sum").backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("case", CASES)
def test_a_step_of_ctc(case: str) -> None:
    hidden_size, num_layers, b, t = CASES[case]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths = torch.linspace(0.8 * t, t, b).round().long()  # utterances of a batch are about as long
    frames, target = torch.randn(b, t, 123), torch.randint(1, 62, (b, t // 8))
    ours = stepper(DeepBLSTM(hidden_size=hidden_size, num_layers=num_layers), frames, lengths, target)
    plain = stepper(Plain(hidden_size, num_layers), frames, lengths, target)
    ratios, seconds = [], []
    for number in range(1 + ROUNDS):
        taken = []
        for step in (plain, ours):
            before = time.process_time()
            step()
            taken.append(time.process_time() - before)
        if number:
            ratios.append(taken[0] / taken[1])
            seconds.append(taken[1])
    rate, ratio = float(lengths.sum()) / statistics.median(seconds), statistics.median(ratios)
    print()
    print(f"{case}: {rate:,.0f} frames/s, {ratio:.2f} of torch's own; the aim is at least {LEAST}")
    assert case != "CTC-3l-250h" or ratio >= LEAST
