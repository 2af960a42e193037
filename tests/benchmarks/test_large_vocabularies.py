"""What the published translators cost a step: a softmax over a sample of 80,000 words beside the full one, and memory.

Sentences are drawn at random, 25 words long, words as frequent as their numbers (Zipf); their contents make no
difference to the cost. Both kinds of softmax take turns, so that the speed of the machine drifts for both alike, on one
thread; seconds are those of the processor, so that other work on the machine counts for less.
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dltk import recipe
from dltk.assemble import build_task
from dltk.layers import sampled_softmax, tokens
from dltk.run.host import free_memory

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

WORDS = 80_000
SAMPLED = 15_000  # the smallest sample of Jean et al. (2015, section 4.2)
LENGTH = 25
SENTENCES = 80  # of a batch (their section 4.1)
ROUNDS = 5
GIB = 2**30
LIMIT = 24  # GiB for a step of 384 million weights


def batch(sentences: int, words: int, step: int = 0) -> dict[str, Any]:
    """Sentences and translations of one length, of so many words on either side."""
    drawn = torch.Generator().manual_seed(step)
    shares = 1.0 / torch.arange(1, words - len(tokens.SPECIAL) + 1)
    both = torch.multinomial(shares, 2 * sentences * LENGTH, replacement=True, generator=drawn) + len(tokens.SPECIAL)
    source, target = both.view(2, sentences, LENGTH)
    source[:, -1] = target[:, -1] = tokens.EOS
    return {"source": source, "target": target, "weight": torch.ones(sentences), "info": SimpleNamespace(step=step)}


def seconds(act: Callable[[], object]) -> float:
    """Of one call."""
    began = time.process_time()
    act()
    return time.process_time() - began


def turns(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The medians of seconds of some ways that take turns, after a first round."""
    rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(ROUNDS + 1)][1:]
    return {name: statistics.median(one[name] for one in rounds) for name in ways}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What the processor spends is then what a step takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_softmax_alone() -> None:
    """Forward and backward, to readouts and weights; 15,000 words as published, and fewer."""
    output = torch.nn.Linear(500, WORDS)
    readout = torch.randn(SENTENCES * LENGTH, 500, requires_grad=True)  # (n, m)
    right = batch(SENTENCES, WORDS)["target"].flatten()  # (n,)
    generator = torch.Generator().manual_seed(0)

    def full() -> None:
        F.cross_entropy(output(readout), right, reduction="sum").backward()

    def sampled(count: int) -> Callable[[], None]:
        q = sampled_softmax.probabilities(WORDS, count)

        def way() -> None:
            sample = sampled_softmax.draw(q, generator)
            sample = sampled_softmax.Sample(sample.words, sample.log_q.float())
            sampled_softmax.losses(output, readout, right, sample)[0].sum().backward()

        return way

    found = turns({"full": full, **{f"{count:,} words": sampled(count) for count in (SAMPLED, 8_000)}})
    print()
    for name, taken in found.items():
        print(f"{name:14} {taken:6.2f} s, {found['full'] / taken:.2f} × as fast as the full softmax")
    assert found["full"] / found[f"{SAMPLED:,} words"] >= 4.0


def test_a_whole_step() -> None:
    """The network of Bahdanau et al. with 80,000 words a side, clipping and Adadelta, as it is trained."""
    sizes = [f"{place}.{side}_vocab_size={WORDS}" for place in ("model", "data") for side in ("source", "target")]
    settings = {
        "full": recipe.load("rnnsearch_wmt14_enfr", *sizes).settings,
        "sampled": recipe.load("large_vocab_wmt14_enfr", *sizes, f"model.sampled={SAMPLED}").settings,
    }
    found = turns({name: Stepper(chosen).step for name, chosen in settings.items()})
    times = found["full"] / found["sampled"]
    print(f"\na step takes {found['full']:.1f} s, {found['sampled']:.1f} s with a sample: {times:.2f} × as fast")
    assert times >= 1.8


class Stepper:
    """A recipe's task, whose steps are all that a training does but for reading data."""

    def __init__(self, settings: dict[str, Any], sentences: int = SENTENCES) -> None:
        self.task = build_task(settings)
        self.words = min(settings["model"]["source_vocab_size"], settings["model"]["target_vocab_size"])
        self.optimizer = self.task.procedure.optimizer(self.task.model)
        self.sentences, self.steps = sentences, 0

    def step(self) -> None:
        """Train on a batch."""
        measures = self.task.measure(batch(self.sentences, self.words, self.steps))
        (measures["loss"] / measures["weight"]).backward()
        torch.nn.utils.clip_grad_norm_(self.task.model.parameters(), self.task.procedure.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1


def test_the_memory_of_the_published_network() -> None:
    """Sutskever et al. (2014): 384 million weights, a batch of 128 sentences, plain SGD; in a process of its own.

    It is measured again without gradients of the embeddings: what any sparse form of them could save at most.
    """
    if free_memory() < LIMIT * GIB * 0.6:
        pytest.fail("too little memory is free")
    print()
    for embeddings in ("dense", "fixed"):
        answer = subprocess.run([sys.executable, __file__, embeddings], capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        peak, taken = map(float, answer.stdout.split())
        print(f"{embeddings:6} gradients of embeddings: at most {peak:.2f} GiB, {taken:.1f} s a step")
        assert peak <= LIMIT


def main() -> None:
    """GiB at most, and seconds of the second of two steps."""
    torch.set_num_threads(1)
    stepper = Stepper(recipe.load("seq2seq_wmt14_enfr").settings, sentences=128)
    for name, parameter in stepper.task.model.named_parameters():
        if "embedding" in name and sys.argv[1] == "fixed":
            parameter.requires_grad_(False)
    taken = [seconds(stepper.step) for _ in range(2)]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, taken[-1])


if __name__ == "__main__":
    main()
