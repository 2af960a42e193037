"""Searches: what a beam finds that keeps all, and that narrow ones find what is clear."""

import itertools
import math

import pytest
import torch

from dltk.layers.alignments import transducer_losses
from dltk.models.deep_blstm import BLSTMTransducer
from dltk.tasks.transcribing import best_paths, collapsed, prefix_beam, transducer_beam, write_greedily


def test_a_path_collapses_between_blanks():
    assert collapsed([0, 1, 1, 0, 1, 2, 2, 0]) == (1, 1, 2)
    assert collapsed([]) == ()


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_keeps_all_finds_every_transcript_with_its_probability(seed):
    logs = torch.log_softmax(2 * torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)).double(), 1)
    every = {}
    for path in itertools.product(range(3), repeat=5):
        log = sum(float(logs[t, k]) for t, k in enumerate(path))
        every[collapsed(path)] = every.get(collapsed(path), 0.0) + math.exp(log)
    found = prefix_beam(logs, None)
    assert {one.labels: math.exp(one.score) for one in found} == pytest.approx(every)
    assert found[0].labels == max(every, key=lambda labels: every[labels])
    assert len(prefix_beam(logs, 2)) == 2


def test_the_likeliest_transcript_is_not_that_of_the_likeliest_path():
    logs = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()  # the paths 1 1, 1 0 and 0 1 have 0.64 together
    ((labels, score),) = best_paths(logs[None], torch.tensor([2]))
    assert labels == ()
    assert score == pytest.approx(math.log(0.36))
    assert prefix_beam(logs, 2)[0].labels == (1,)
    assert prefix_beam(logs, 2)[0].score == pytest.approx(math.log(0.64))


@pytest.fixture
def transducer():
    torch.manual_seed(0)
    sizes = {"num_classes": 2, "input_size": 3, "hidden_size": 4, "num_layers": 1}
    return BLSTMTransducer(**sizes, first_weights=1.0).double()


def test_a_transducer_s_beam_sums_all_ways_to_a_transcript(transducer):
    frames, lengths = torch.randn(1, 3, 3).double(), torch.tensor([3])
    found = transducer_beam(transducer, transducer.frames(frames, lengths)[0], None, most=3)
    checked = [one for one in found if len(one.labels) <= 3]  # of longer ones it leaves some ways out
    assert len(checked) == 1 + 2 + 4 + 8
    for one in checked:
        target = torch.tensor([one.labels], dtype=torch.int64).view(1, -1)
        loss = transducer_losses(transducer(frames, lengths, target), lengths, target)
        assert float(loss.detach()) == pytest.approx(-one.score)


def test_a_transducer_writes_the_same_alone_and_among_others(transducer):
    with torch.no_grad():
        transducer.output.bias.zero_()  # so that some utterances have labels, and others none
    frames, lengths = 3 * torch.randn(3, 8, 3).double(), torch.tensor([8, 3, 5])
    read = transducer.frames(frames, lengths)
    together = write_greedily(transducer, read, lengths)
    alone = [
        write_greedily(transducer, read[at : at + 1, :n], lengths[at : at + 1])[0] for at, n in enumerate([8, 3, 5])
    ]
    assert [one.labels for one in together] == [one.labels for one in alone]
    assert [one.score for one in together] == pytest.approx([one.score for one in alone])
    assert any(one.labels for one in together)
    for at, (length, (labels, score)) in enumerate(zip(lengths.tolist(), together, strict=True)):
        logs = torch.log_softmax(transducer(frames[at : at + 1], lengths[at : at + 1], torch.tensor([[*labels, 0]])), 3)
        written, total = 0, 0.0
        for step in range(length):
            while written < len(labels) and int(logs[0, step, written].argmax()) == labels[written]:
                total += float(logs[0, step, written, labels[written]])
                written += 1
            total += float(logs[0, step, written, 0])
        assert score == pytest.approx(total)
    narrow = transducer_beam(transducer, read[0], 4)
    wide = transducer_beam(transducer, read[0], 50)
    assert narrow[0].score <= wide[0].score + 1e-9
    assert len(narrow) == 4
