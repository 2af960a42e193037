"""The network of several time scales: with one it is the plain one, and errors go back in strides of its periods."""

import pytest
import torch

from dltk.layers import unrolled
from dltk.models.hrnn import HRNN
from dltk.models.rnn import RNN

SIZES = {"input_size": 3, "output_size": 2, "hidden_size": 7}


def made(periods: list[int]) -> HRNN:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return HRNN(**SIZES, periods=periods).double()


def sequences(b: int = 4, t: int = 13) -> torch.Tensor:
    return torch.randn(b, t, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_with_one_time_scale_it_is_the_plain_network():
    net, plain = made([1]), RNN(**SIZES).double()
    plain.load_state_dict(net.state_dict())
    inputs, at = sequences(), torch.tensor([[12], [3], [7], [0]])
    torch.testing.assert_close(net(inputs), plain(inputs))
    torch.testing.assert_close(net(inputs, at), plain(inputs, at))


def test_a_unit_moves_when_its_period_has_passed_and_stays_between():
    net = made([1, 3, 4])
    assert net.periods.tolist() == [1, 1, 1, 3, 3, 4, 4]
    inputs = sequences(b=1, t=30)
    state = torch.zeros(7, dtype=torch.float64)
    for t, units in enumerate(net.read(inputs)[0]):
        moved = torch.tanh(net.inputs.weight @ inputs[0, t] + net.inputs.bias + net.recurrent.weight @ state)
        state = torch.stack([moved[n] if t % int(net.periods[n]) == 0 else state[n] for n in range(7)])
        torch.testing.assert_close(units, state)


@pytest.mark.parametrize("period", [1, 2, 8])
def test_errors_go_back_in_strides_of_the_period(period):
    """Over T steps about T / p factors, here all alike: of units near 0 each is the weight of a unit to itself."""
    net = made([period])
    with torch.no_grad():
        net.recurrent.weight.copy_(0.5 * torch.eye(7))
        net.inputs.weight.zero_()
        net.inputs.bias.zero_()
    found = unrolled.states(net, sequences(b=1, t=33))
    (gradient,) = torch.autograd.grad(found[-1][0, 0], found[0])
    assert float(gradient[0, 0]) == pytest.approx(0.5 ** (32 // period))


def test_every_parameter_gets_a_gradient_and_weights_are_as_many_whatever_the_periods():
    counts = set()
    for periods in ([1], [1, 2], [1, 2, 4, 8, 16, 32]):
        net = made(periods)
        net(sequences(t=40)).square().sum().backward()
        assert all(parameter.grad.any() for parameter in net.parameters())
        counts.add(sum(parameter.numel() for parameter in net.parameters()))
    assert counts == {7 * (3 + 7 + 1) + 2 * (7 + 1)}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"periods": []}, r"periods is \[\], steps between moves"),
        ({"periods": [1, 0]}, r"periods is \[1, 0\], steps between moves"),
        ({"hidden_size": 2, "periods": [1, 2, 4]}, "hidden_size is 2, for 3 levels"),
        ({"input_size": 0}, "input_size is 0"),
    ],
)
def test_settings_that_make_no_network(settings, says):
    with pytest.raises(ValueError, match=says):
        HRNN(**{**SIZES, **settings})


def test_sequences_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"the network takes \(b, t, 3\)"):
        made([1, 2])(torch.zeros(2, 4, 5, dtype=torch.float64))
