"""What a step of training costs a recurrent language model, beside layers of torch on sentences that are filled up.

The network and the batches are those of the recipe `rnnlm_bible`, with its classes of words and with a plain softmax;
the other is torch's embedding, LSTM of as many cells and linear layer, on as many words in sentences of 5 to 53, the
shorter ones filled up behind. Words are drawn at random, as frequent as their numbers (Zipf). All take turns on one
thread; what counts is the processor's time for a real word, the median over rounds of the ratio within a round.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk import recipe
from dltk.data.loader import BatchInfo
from dltk.layers.tokens import PAD, SPECIAL
from dltk.models.rnnlm import RNNLM
from dltk.tasks.language import Language

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

ROUNDS = 7
LEAST = 0.6  # times as fast as the other


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What the processor spends is then what a step takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def words_of(count: int, words: int) -> Tensor:
    """So many words drawn (n,)."""
    shares = 1.0 / torch.arange(1, words - len(SPECIAL) + 1)
    return torch.multinomial(shares, count, replacement=True, generator=torch.Generator().manual_seed(0)) + len(SPECIAL)


def stepping(parameters: Any, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A whole step: the loss, its gradient, clipping, and Adam."""
    every = list(parameters)
    optimizer = torch.optim.Adam(every, lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(every, 1.0)
        optimizer.step()

    return step


def ours(settings: Any, classes: int) -> tuple[Callable[[], None], int]:
    """A step of the recipe's network with so many classes of words, and the words that it is of."""
    model, data = settings["model"], settings["data"]
    lanes, unroll = data["lanes"], data["unroll"]
    sizes = {key: model[key] for key in ("vocab_size", "hidden_size", "dropout")}
    task = Language(RNNLM(**sizes, classes=classes)).train()
    text = words_of(lanes * (unroll + 1), model["vocab_size"]).view(lanes, unroll + 1)
    info = BatchInfo(
        epoch=0, step=1, micro=0, places=np.arange(lanes), keys=(), hashes=np.empty(0, np.uint64), samples=lanes,
        planned=float(lanes), weight=float(lanes), damaged=(),
    )  # fmt: skip
    batch = {
        "words": text[:, :-1],
        "target": text[:, 1:],
        "fresh": torch.zeros(lanes),
        "weight": torch.ones(lanes),
        "info": info,
    }
    count = lanes * unroll
    return stepping(task.parameters(), lambda: task.measure(batch)["loss"] / count), count


def theirs(settings: Any) -> tuple[Callable[[], None], int]:
    """A step of torch's layers on sentences that are filled up, and the real words that it is of."""
    model, data = settings["model"], settings["data"]
    embedding = nn.Embedding(model["vocab_size"], model["hidden_size"])
    layer = nn.LSTM(model["hidden_size"], model["hidden_size"], batch_first=True)
    output = nn.Linear(model["hidden_size"], model["vocab_size"])
    drop = nn.Dropout(model["dropout"])
    lengths = torch.arange(5, 54, 48 // (data["lanes"] * data["unroll"] // 29 - 1))  # 29 words on the average
    text = words_of(int((lengths + 1).sum()), model["vocab_size"])
    filled = nn.utils.rnn.pad_sequence(text.split((lengths + 1).tolist()), batch_first=True, padding_value=PAD)
    words, target, count = filled[:, :-1], filled[:, 1:], int(lengths.sum())

    def loss() -> Tensor:
        scores = output(drop(layer(embedding(words))[0])).flatten(0, 1)
        return F.cross_entropy(scores, target.flatten(), ignore_index=PAD, reduction="sum") / count

    return stepping([*embedding.parameters(), *layer.parameters(), *output.parameters()], loss), count


def test_words_a_second() -> None:
    settings = recipe.load("rnnlm_bible", check_model=False)
    classes = settings["model"]["classes"]
    ways = {"rnnlm": ours(settings, classes), "rnnlm, one class": ours(settings, 1), "torch's LSTM": theirs(settings)}
    found = []
    for _ in range(ROUNDS + 1):  # the first warms up
        rates = {}
        for name, (step, count) in ways.items():
            began = time.process_time()
            step()
            rates[name] = count / (time.process_time() - began)
        found.append(rates)
    print()
    for name, (_, count) in ways.items():
        rate = statistics.median(one[name] for one in found[1:])
        times = statistics.median(one[name] / one["torch's LSTM"] for one in found[1:])
        print(f"{name:18} {rate:7,.0f} words/s, steps of {count:,}; {times:.2f} × as fast as torch's LSTM")
        assert times >= LEAST
