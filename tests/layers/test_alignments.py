"""Sums over alignments against all of them, one by one."""

import itertools
import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dltk.layers import alignments
from dltk.layers.alignments import (
    ctc_alignment,
    ctc_losses,
    ctc_needs,
    transducer_alignment,
    transducer_losses,
)
from dltk.tasks.transcribing import collapsed

T, K = 5, 2


@pytest.fixture
def logs():
    return torch.log_softmax(torch.randn(T, K + 1, generator=torch.Generator().manual_seed(0)).double(), 1)


def paths_of(logs):
    """The logarithm of each path's probability, by the labels that it writes."""
    found = {}
    for path in itertools.product(range(K + 1), repeat=len(logs)):
        found.setdefault(collapsed(path), []).append((path, sum(float(logs[t, k]) for t, k in enumerate(path))))
    return found


def test_the_loss_of_ctc_is_that_of_all_paths_together(logs):
    every = paths_of(logs)
    assert sum(math.exp(log) for some in every.values() for _, log in some) == pytest.approx(1)
    for labels, some in every.items():
        target, lengths = torch.tensor([labels], dtype=torch.int64).view(1, -1), torch.tensor([T])
        loss = ctc_losses(logs[None], lengths, target)
        assert float(loss) == pytest.approx(-math.log(sum(math.exp(log) for _, log in some)))
        assert len(labels) <= int(ctc_needs(target)) <= T


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_loss_of_ctc_is_worked_out_where_torch_has_its_gradient(deterministic, monkeypatch):
    seen = []

    def loss(logs, target, lengths, *_, **__):
        seen.append({one.device.type for one in (logs, target, lengths)})
        return logs[0, :, 0]

    monkeypatch.setattr(alignments.F, "ctc_loss", loss)
    torch.use_deterministic_algorithms(deterministic)
    try:
        with FakeTensorMode():  # a GPU need not be there
            logs, lengths, target = torch.empty(2, 5, 3), torch.ones(2), torch.ones(2, 4)
            found = ctc_losses(*(one.to("cuda") for one in (logs, lengths, target)))
    finally:
        torch.use_deterministic_algorithms(False)
    assert seen == [{"cpu" if deterministic else "cuda"}]
    assert found.device.type == "cuda"


def test_an_alignment_is_the_share_of_the_paths_that_pass_a_place(logs):
    for labels, some in paths_of(logs).items():
        if not labels:
            continue
        wanted = torch.zeros(T, 2 * len(labels) + 1).double()
        for path, log in some:
            place = -1  # of the last label
            for t, label in enumerate(path):
                place += label != 0 and (t == 0 or path[t - 1] != label)
                wanted[t, 2 * place + 1 if label else 2 * place + 2] += math.exp(log)
        found = ctc_alignment(logs, torch.tensor(labels))
        torch.testing.assert_close(found.sum(1), torch.ones(T).double())
        torch.testing.assert_close(found, wanted / wanted.sum(1, keepdim=True))


def test_what_a_target_needs():
    assert ctc_needs(torch.tensor([[1, 1, 2], [1, 2, 0], [2, 2, 2], [0, 0, 0]])).tolist() == [4, 2, 5, 0]


def test_the_loss_of_a_transducer_is_that_of_all_ways_together():
    torch.manual_seed(0)
    lengths, target = torch.tensor([4, 2, 3]), torch.tensor([[1, 2, 2], [2, 0, 0], [0, 0, 0]])
    scores = torch.randn(3, 4, 4, K + 1, dtype=torch.float64, requires_grad=True)
    logs = torch.log_softmax(scores, 3)
    wanted = []
    for at, (length, row) in enumerate(zip(lengths.tolist(), target.tolist(), strict=True)):
        labels = [label for label in row if label]
        total = []
        # At which frame each label is written: never earlier than the one before.
        for frames in itertools.combinations_with_replacement(range(length), len(labels)):
            log = sum(logs[at, t, sum(frame <= t for frame in frames), 0] for t in range(length))
            log = log + sum(logs[at, t, u, labels[u]] for u, t in enumerate(frames))
            total.append(log)
        wanted.append(-torch.logsumexp(torch.stack(total), 0))
    found = transducer_losses(scores, lengths, target)
    torch.testing.assert_close(found, torch.stack(wanted))
    own, other = (torch.autograd.grad(one.sum(), scores)[0] for one in (found, torch.stack(wanted)))
    torch.testing.assert_close(own, other)


def test_an_alignment_of_a_transducer_is_the_share_of_the_ways_that_write_a_label_at_a_frame():
    torch.manual_seed(0)
    target, scores = torch.tensor([1, 2, 2]), torch.randn(4, 4, K + 1)
    logs = torch.log_softmax(scores.double(), 2)
    wanted = torch.zeros(4, 3).double()
    for frames in itertools.combinations_with_replacement(range(4), 3):
        log = sum(float(logs[t, sum(frame <= t for frame in frames), 0]) for t in range(4))
        log += sum(float(logs[t, u, target[u]]) for u, t in enumerate(frames))
        for u, t in enumerate(frames):
            wanted[t, u] += math.exp(log)
    found = transducer_alignment(scores, target)
    torch.testing.assert_close(found, wanted / wanted.sum(0))
    torch.testing.assert_close(found.sum(0), torch.ones(3).double())


def test_long_utterances_keep_their_digits():
    torch.manual_seed(0)
    scores = 5 * torch.randn(1, 300, 61, 30)
    target = torch.randint(1, 30, (1, 60))
    exact = transducer_losses(scores.double(), torch.tensor([300]), target)
    torch.testing.assert_close(
        transducer_losses(scores, torch.tensor([300]), target).double(), exact, rtol=1e-5, atol=0
    )
