"""The networks of table 1: their counts, that padding changes nothing, first weights, gradients."""

import pytest
import torch
from torch import nn

from dltk.layers.peephole_lstm import PeepholeLSTM
from dltk.models.deep_blstm import BLSTMTransducer, DeepBLSTM, NextLabelNet
from tests.models import kept

SMALL = {"num_classes": 3, "input_size": 5, "hidden_size": 4, "num_layers": 2, "first_weights": 0.5}
MAKERS = {
    "lstm": lambda: DeepBLSTM(**SMALL),
    "forwards": lambda: DeepBLSTM(**SMALL, bidirectional=False),
    "tanh": lambda: DeepBLSTM(**SMALL, cell="tanh"),
    "transducer": lambda: BLSTMTransducer(**SMALL),
}
LENGTHS, TARGET = torch.tensor([7, 3, 5]), torch.tensor([[1, 2, 3], [2, 0, 0], [3, 3, 0]])


@pytest.fixture(params=MAKERS)
def model(request):
    torch.manual_seed(0)
    return MAKERS[request.param]()


def scores_of(model, frames, lengths, target):
    return model(frames, lengths, target) if hasattr(model, "join") else model(frames, lengths)


@pytest.mark.parametrize(
    ("settings", "count", "millions"),
    [
        ({"hidden_size": 500, "cell": "tanh"}, 3_688_062, 3.7),
        ({"num_layers": 1}, 780_562, 0.8),
        ({"num_layers": 1, "hidden_size": 622}, 3_793_018, 3.8),
        ({"num_layers": 2}, 2_284_062, 2.3),
        ({"hidden_size": 421, "bidirectional": False}, 3_786_957, 3.8),
        ({}, 3_787_562, 3.8),
        ({"num_layers": 5}, 6_794_562, 6.8),
    ],
)
def test_weights_of_the_paper_s_seven_networks(settings, count, millions):
    with torch.device("meta"):
        found = sum(p.numel() for p in DeepBLSTM(**settings).parameters())
    assert found == count
    assert round(found / 1e6, 1) == millions


def test_weights_of_the_transducer():
    with torch.device("meta"):
        assert round(sum(p.numel() for p in BLSTMTransducer().parameters()) / 1e6, 1) == 4.3


def test_padding_changes_nothing(model):
    frames = torch.randn(3, 7, 5)
    together = scores_of(model, frames, LENGTHS, TARGET)
    longer = scores_of(model, torch.cat([frames, torch.randn(3, 2, 5)], 1), LENGTHS, TARGET)
    for at, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(longer[at, :length], together[at, :length])
        alone = scores_of(model, frames[at : at + 1, :length], LENGTHS[at : at + 1], TARGET[at : at + 1])
        torch.testing.assert_close(alone[0], together[at, :length])


def test_a_frame_is_heard_before_and_behind_it_as_the_network_reads(model):
    frames = torch.randn(1, 7, 5, requires_grad=True)
    target = TARGET[:1]
    heard = scores_of(model, frames, LENGTHS[:1], target)[0, 3].sum()
    (gradient,) = torch.autograd.grad(heard, frames)
    reached = gradient[0].abs().sum(1) > 0
    one_way = isinstance(model.layers[0], PeepholeLSTM) and len(model.layers[0].recurrent) == 1
    assert reached.tolist() == [True] * 4 + [not one_way] * 3


def test_every_parameter_gets_a_gradient(model):
    scores_of(model, torch.randn(3, 7, 5), LENGTHS, TARGET).square().sum().backward()
    assert all(parameter.requires_grad for parameter in model.parameters())
    kept.assert_every_weight_has_a_gradient(model)


def test_first_weights_depend_on_seed_and_name_only(model):
    for name, parameter in model.named_parameters():
        model.initialise(name, parameter, torch.Generator().manual_seed(1))
        assert parameter.abs().max() <= 0.5
        again = nn.Parameter(torch.empty_like(parameter))
        model.initialise(name, again, torch.Generator().manual_seed(1))
        assert torch.equal(parameter, again)


def test_the_layers_of_tanh_are_torch_s():
    torch.manual_seed(0)
    ours = DeepBLSTM(**SMALL, cell="tanh").layers[0]
    other = nn.RNN(5, 4, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for way, end in enumerate(("l0", "l0_reverse")):
            getattr(other, f"weight_ih_{end}").copy_(ours.inputs[way].T)
            getattr(other, f"weight_hh_{end}").copy_(ours.recurrent[way].T)
            getattr(other, f"bias_ih_{end}").copy_(ours.bias[way])
            getattr(other, f"bias_hh_{end}").zero_()
    x = torch.randn(3, 7, 5)
    torch.testing.assert_close(ours(x, torch.ones(3, 7, dtype=torch.bool)), other(x)[0])


def test_a_transducer_takes_step_by_step_what_it_takes_at_once():
    torch.manual_seed(0)
    model, frames = BLSTMTransducer(**SMALL), torch.randn(3, 7, 5)
    at_once = model(frames, LENGTHS, TARGET)
    read, state = model.frames(frames, LENGTHS), model.start(3)
    for u, labels in enumerate([torch.zeros(3, dtype=torch.int64), *TARGET.T]):
        known, state = model.step(labels, state)
        torch.testing.assert_close(model.join(read, known[:, None]), at_once[:, :, u])


def next_labels() -> NextLabelNet:
    torch.manual_seed(1)
    return NextLabelNet(num_classes=3, hidden_size=4, first_weights=0.8)


def test_a_transducer_begun_with_a_net_of_next_labels_tells_what_that_tells_where_nothing_is_heard():
    labels, transducer = next_labels(), BLSTMTransducer(**SMALL)
    left = transducer.load_state_dict(labels.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert {name.partition(".")[0] for name in left.missing_keys} == {"layers", "reading", "of_frame"}
    wanted = torch.softmax(labels(TARGET), 2)  # (b, u + 1, k + 1)
    assert wanted.std(0).max() > 0.01  # it is another behind other labels
    state = transducer.start(3)
    for u, before in enumerate([torch.zeros(3, dtype=torch.int64), *TARGET.T]):
        known, state = transducer.step(before, state)
        torch.testing.assert_close(torch.softmax(transducer.join(torch.zeros(3, 4), known), 1), wanted[:, u])
    with torch.no_grad():  # l_t and its bias give nothing
        transducer.of_frame.weight.zero_()
        transducer.of_frame.bias.zero_()
    found = torch.softmax(transducer(torch.randn(3, 7, 5), LENGTHS, TARGET), 3)  # (b, t, u + 1, k + 1)
    torch.testing.assert_close(found, wanted[:, None].expand_as(found))


def test_next_labels_are_told_from_those_before_them():
    net = next_labels()
    other = TARGET.clone()
    other[0, 1] = 3
    found, changed = net(TARGET), net(other)
    torch.testing.assert_close(changed[1:], found[1:])
    torch.testing.assert_close(changed[0, :2], found[0, :2])
    assert (changed[0, 2:] - found[0, 2:]).abs().min() > 1e-4


def test_a_net_of_next_labels_keeps_what_every_network_keeps(monkeypatch, tmp_path):
    net = next_labels()
    net(TARGET).square().sum().backward()
    kept.assert_every_weight_has_a_gradient(net)
    kept.assert_state_round_trips(next_labels, lambda model: model(TARGET), tmp_path / "state.pt")
    kept.assert_first_weights_depend_on_seed_and_name_only(next_labels)
    kept.assert_construction_initialises_every_parameter(next_labels, monkeypatch)
    with pytest.raises(ValueError, match="hidden_size is 0, nothing"):
        NextLabelNet(hidden_size=0)


def test_what_is_refused(model):
    with pytest.raises(ValueError, match=r"frames are \(3, 7, 6\), the network takes \(b, t, 5\)"):
        scores_of(model, torch.zeros(3, 7, 6), LENGTHS, TARGET)
    with pytest.raises(ValueError, match="num_layers is 0, nothing"):
        type(model)(num_layers=0)
