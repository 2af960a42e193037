"""The layer of cells against its equations written out, and its gradient against autograd's."""

import pytest
import torch

from dltk.layers.peephole_lstm import PIECE, PeepholeLSTM
from dltk.models.lstm import LSTM

LENGTHS = torch.tensor([6, 3, 5])
REAL = torch.arange(6) < LENGTHS[:, None]  # (b, t)


def layer_of(bidirectional=True, x=3, n=4):
    torch.manual_seed(0)
    layer = PeepholeLSTM(x, n, bidirectional=bidirectional).double()
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -0.7, 0.7)
    return layer


def written_out(layer, x):
    """Equations 3 to 7, utterance by utterance, way by way (b, t, dn)."""
    b, t = x.shape[:2]
    d, n = layer.recurrent.shape[:2]
    found = [[[x.new_zeros(n) for _ in range(d)] for _ in range(t)] for _ in range(b)]
    for at, length in enumerate(LENGTHS.tolist()):
        for way in range(d):
            h, c = x.new_zeros(n), x.new_zeros(n)
            for step in reversed(range(length)) if way else range(length):
                a = layer.bias[way] + x[at, step] @ layer.inputs[way] + h @ layer.recurrent[way]
                i, f, o, g = a.chunk(4)
                p_i, p_f, p_o = layer.looks[way]
                c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
                h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
                found[at][step][way] = h
    return torch.stack([torch.stack([torch.cat(ways) for ways in row]) for row in found])


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("piece", [1, PIECE])
def test_values_and_gradients_are_those_of_the_equations(bidirectional, piece, monkeypatch):
    monkeypatch.setattr("dltk.layers.peephole_lstm.PIECE", piece)
    layer = layer_of(bidirectional)
    x = torch.randn(3, 6, 3, dtype=torch.float64, requires_grad=True)
    made = layer(x, REAL)
    right = written_out(layer, x)
    real = REAL[..., None]
    torch.testing.assert_close(made * real, right)
    weights = torch.randn(made.shape, dtype=torch.float64) * real
    arguments = [x, *layer.parameters()]
    own, others = (torch.autograd.grad((one * weights).sum(), arguments) for one in (made, right))
    for one, other in zip(own, others, strict=True):
        torch.testing.assert_close(one, other)


def test_the_way_backwards_begins_at_each_end():
    layer = layer_of()
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    longer = torch.cat([x, torch.randn(3, 4, 3, dtype=torch.float64)], 1)
    real = torch.arange(10) < LENGTHS[:, None]
    torch.testing.assert_close(layer(longer, real)[:, :6] * REAL[..., None], layer(x, REAL) * REAL[..., None])


def test_it_is_the_network_that_takes_step_by_step():
    layer = layer_of(bidirectional=False)
    other = LSTM(input_size=3, output_size=1, hidden_size=4, peepholes=True).double()
    order = torch.cat([torch.arange(8), torch.arange(12, 16), torch.arange(8, 12)])  # i, f, g, o of i, f, o, g
    with torch.no_grad():
        other.inputs.weight.copy_(layer.inputs[0].T[order])
        other.inputs.bias.copy_(layer.bias[0][order])
        other.recurrent.weight.copy_(layer.recurrent[0].T[order])
        other.looks.copy_(layer.looks[0])
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    made = layer(x, torch.ones(3, 6, dtype=torch.bool))
    torch.testing.assert_close(made, other.read(x))
    state, found = x.new_zeros(2, 3, 4), []
    for one in x.unbind(1):
        state = layer.step(one, state)
        found.append(state[0])
    torch.testing.assert_close(torch.stack(found, 1), made)


def test_it_runs_in_half_precision_beside_others():
    layer = layer_of().float()
    x = torch.randn(3, 6, 3)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x, REAL)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer(x, REAL), atol=0.03, rtol=0.1)
