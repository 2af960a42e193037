"""The recurrent networks against their papers' counts, and against their equations and derivatives written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dltk.layers import unrolled
from dltk.models.hrnn import HRNN
from dltk.models.lstm import LSTM
from dltk.models.lstm1997 import LSTM1997
from dltk.models.rnn import RNN
from tests.models import kept

SIZES = {"input_size": 3, "output_size": 2, "hidden_size": 5}
MAKERS = {
    "rnn": lambda: RNN(**SIZES),
    "rnn_feedback": lambda: RNN(**SIZES, feedback=True),
    "rnn_relu": lambda: RNN(**SIZES, activation="relu", first_weights=0.6),
    "hrnn": lambda: HRNN(**SIZES, periods=[1, 2, 3]),
    "lstm": lambda: LSTM(**SIZES),
    "lstm_no_forget": lambda: LSTM(**SIZES, forget_gate=False),
    "lstm_peepholes": lambda: LSTM(**SIZES, peepholes=True),
    "lstm_no_forget_peepholes": lambda: LSTM(**SIZES, forget_gate=False, peepholes=True),
    "lstm1997": lambda: LSTM1997(input_size=3, output_size=2, truncated=False),
    "lstm1997_logistic": lambda: LSTM1997(input_size=3, output_size=2, truncated=False, logistic_output=True),
}


@pytest.fixture(params=MAKERS)
def net(request):
    torch.manual_seed(0)
    return MAKERS[request.param]().double()


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def sequences(b: int = 4, t: int = 6, x: int = 3):
    return torch.randn(b, t, x, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_counts_are_the_papers():
    x, h, y = 3, 5, 2
    assert count(RNN(**SIZES)) == h * (x + h + 1) + y * (h + 1)
    assert count(LSTM(**SIZES)) == 4 * h * (x + h + 1) + y * (h + 1)
    assert count(LSTM(**SIZES, peepholes=True)) == 4 * h * (x + h + 1) + 3 * h + y * (h + 1)
    assert count(LSTM(**SIZES, forget_gate=False)) == 3 * h * (x + h + 1) + y * (h + 1)
    assert count(LSTM1997()) == 93


def test_few_recurrent_weights_have_the_spectral_radius_asked_for():
    net = RNN(input_size=3, output_size=2, hidden_size=40, first_weights=0.02, spectral_radius=0.95)
    matrix = net.recurrent.weight.detach()
    assert ((matrix != 0).sum(1) == 15).all()
    assert float(torch.linalg.eigvals(matrix).abs().max()) == pytest.approx(0.95, rel=1e-5)
    assert float(net.inputs.weight.abs().max()) <= 0.02
    with pytest.raises(ValueError, match=r"spectral_radius is 0\.0, a largest absolute value"):
        RNN(**SIZES, spectral_radius=0.0)


def test_gradients_are_finite_differences(net):
    """Back-propagation through time, of the loss of all steps, by every weight."""
    inputs = sequences()

    def loss():
        return net(inputs).square().sum()

    gradients = torch.autograd.grad(loss(), list(net.parameters()))
    step = 1e-6
    for (name, parameter), gradient in zip(net.named_parameters(), gradients, strict=True):
        flat = parameter.detach().view(-1)
        for at in range(0, flat.numel(), max(1, flat.numel() // 7)):
            here = float(flat[at])
            with torch.no_grad():
                flat[at] = here + step
                above = loss()
                flat[at] = here - step
                below = loss()
                flat[at] = here
            found = float(above - below) / (2 * step)
            assert found == pytest.approx(float(gradient.view(-1)[at]), rel=1e-5, abs=1e-6), (name, at)


def test_every_parameter_gets_a_gradient_and_steps_lower_the_loss(net):
    inputs, wanted = sequences(), torch.full((4, 6, 2), 0.7, dtype=torch.float64)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    before = F.mse_loss(net(inputs), wanted)
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(net(inputs), wanted).backward()
        assert all(p.grad is not None and p.grad.any() for p in net.parameters())
        optimizer.step()
    assert F.mse_loss(net(inputs), wanted) < before


def test_a_sequence_alone_gives_what_it_gives_among_others_and_ends_where_it_is_asked(net):
    inputs = sequences()
    whole = net(inputs)
    torch.testing.assert_close(net(inputs[2:3])[0], whole[2])
    torch.testing.assert_close(net(inputs[2:3, :4])[0], whole[2, :4])  # what follows does not matter
    at = torch.tensor([[0, 3], [5, 5], [1, 2], [4, 0]])
    torch.testing.assert_close(net(inputs, at), torch.stack([whole[row, at[row]] for row in range(4)]))


def test_first_weights_depend_on_seed_and_name_only(net):
    kept.assert_first_weights_depend_on_seed_and_name_only(lambda: net)


def test_sequences_of_another_width_are_refused(net):
    for shape in ((2, 4, 7), (2, 0, 3), (4, 3)):
        with pytest.raises(ValueError, match=r"the network takes \(b, t, 3\)\. Set model\.input_size"):
            net(torch.zeros(shape, dtype=torch.float64))


def assert_as_torch(net, other):
    """A layer of torch's with the network's weights gives what it gives, at once and step by step."""
    with torch.no_grad():
        other.weight_ih_l0.copy_(net.inputs.weight)
        other.weight_hh_l0.copy_(net.recurrent.weight)
        other.bias_ih_l0.copy_(net.inputs.bias)
        other.bias_hh_l0.zero_()
    inputs = sequences().float()
    expected = other(inputs)[0]
    torch.testing.assert_close(net.read(inputs), expected)
    torch.testing.assert_close(unrolled.read(net, inputs), expected)


def test_rnn_is_torch_s():
    torch.manual_seed(1)
    net, other = RNN(**SIZES), nn.RNN(3, 5, batch_first=True)
    assert_as_torch(net, other)


def test_rnn_is_an_unrolled_network_with_tied_weights():
    torch.manual_seed(2)
    net = RNN(**SIZES).double()
    inputs = sequences(t=4)
    state = torch.zeros(4, 5, dtype=torch.float64)
    copies = []  # of W, one a layer
    for t in range(4):
        copies.append(net.recurrent.weight.detach().clone().requires_grad_())
        state = torch.tanh(F.linear(inputs[:, t], net.inputs.weight, net.inputs.bias) + state @ copies[-1].T)
    layered = net.output(state).square().sum()
    own = net(inputs)[:, -1].square().sum()
    torch.testing.assert_close(own, layered)
    (gradient,) = torch.autograd.grad(own, [net.recurrent.weight])
    torch.testing.assert_close(gradient, torch.stack(torch.autograd.grad(layered, copies)).sum(0))


def test_the_last_state_s_derivative_is_a_product_of_jacobians():
    torch.manual_seed(3)
    net = RNN(**SIZES).double()
    inputs = sequences(b=1, t=7)
    found = unrolled.states(net, inputs)
    product = torch.eye(5, dtype=torch.float64)
    for state in found[2:]:
        product = torch.diag(1 - state[0].detach() ** 2) @ net.recurrent.weight.detach() @ product
    rows = [torch.autograd.grad(found[-1][0, n], found[1], retain_graph=True)[0][0] for n in range(5)]
    torch.testing.assert_close(torch.stack(rows), product)


def test_an_orthogonal_linear_recurrence_keeps_the_gradient_s_norm():
    net = RNN(**SIZES, activation="identity").double()
    nn.init.orthogonal_(net.recurrent.weight, generator=torch.Generator().manual_seed(4))
    found = unrolled.states(net, sequences(t=30))
    gradients = torch.autograd.grad(found[-1].sum(), found)
    norms = torch.stack([gradient.norm() for gradient in gradients])
    torch.testing.assert_close(norms, norms[-1].expand(30))


def test_feedback_is_its_equation():
    torch.manual_seed(5)
    net = RNN(**SIZES, feedback=True).double()
    inputs = sequences(b=1, t=4)
    s, o = torch.zeros(5, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for t in range(4):
        a = net.inputs.weight @ inputs[0, t] + net.inputs.bias + net.recurrent.weight @ s
        s = torch.tanh(a + net.fed_back.weight @ o)
        o = net.output.weight @ s + net.output.bias
    torch.testing.assert_close(net(inputs)[0, -1], o)


@pytest.mark.parametrize("make", [RNN, LSTM])
def test_truncated_gradients_stop_at_their_window(make):
    torch.manual_seed(6)
    whole, cut = make(**SIZES).double(), make(**SIZES, truncate=3).double()
    cut.load_state_dict(whole.state_dict())
    inputs = sequences(t=8).requires_grad_()
    torch.testing.assert_close(whole(inputs), cut(inputs))
    reached = torch.autograd.grad(cut(inputs)[:, -1].sum(), inputs)[0].abs().sum((0, 2)) > 0
    assert reached.tolist() == [False] * 6 + [True] * 2  # windows of steps 0-2, 3-5, 6-7
    assert torch.autograd.grad(whole(inputs)[:, -1].sum(), inputs)[0].abs().sum((0, 2)).gt(0).all()


def test_lstm_is_torch_s():
    torch.manual_seed(7)
    net, other = LSTM(**SIZES), nn.LSTM(3, 5, batch_first=True)
    assert_as_torch(net, other)


@pytest.mark.parametrize("forget_gate", [True, False])
def test_peepholes_are_their_equations(forget_gate):
    torch.manual_seed(8)
    net = LSTM(**SIZES, peepholes=True, forget_gate=forget_gate).double()
    inputs = sequences(b=1)
    gates = "ifgo" if forget_gate else "igo"
    rows = {gate: slice(5 * at, 5 * at + 5) for at, gate in enumerate(gates)}
    looks = dict(zip(gates.replace("g", ""), net.looks, strict=True))
    h = c = torch.zeros(5, dtype=torch.float64)
    for x in inputs[0]:
        a = {g: net.inputs.weight[r] @ x + net.inputs.bias[r] + net.recurrent.weight[r] @ h for g, r in rows.items()}
        i = torch.sigmoid(a["i"] + looks["i"] * c)
        f = torch.sigmoid(a["f"] + looks["f"] * c) if forget_gate else 1.0
        c = f * c + i * torch.tanh(a["g"])
        h = torch.sigmoid(a["o"] + looks["o"] * c) * torch.tanh(c)
    torch.testing.assert_close(net.read(inputs)[0, -1], h)


def test_a_cell_without_forget_gate_is_a_running_sum_that_carries_errors_unchanged():
    net = LSTM(**SIZES, forget_gate=False).double()
    with torch.no_grad():
        net.recurrent.weight.zero_()
        net.inputs.weight[:5] = 0
        net.inputs.bias[:5] = 100  # the input gates stand open
    inputs = sequences(b=1, t=9)
    first = net.start(inputs).requires_grad_()
    state = first
    for a in net.inputs(inputs).unbind(1):
        state = net.step(a, state)
    added = torch.tanh(net.inputs(inputs)[0, :, 5:10]).sum(0)
    torch.testing.assert_close(state[0, 5:], added)
    (gradient,) = torch.autograd.grad(state[0, 5:].sum(), first)
    assert gradient[0].tolist() == [0.0] * 5 + [1.0] * 5


def test_lstm_of_1997_is_its_equations():
    torch.manual_seed(9)
    net = LSTM1997(input_size=3, blocks=2, block_size=2, first_weights=0.8).double()
    inputs = sequences(b=1)
    y, c = torch.zeros(8, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for x in inputs[0]:
        net_in = net.inputs.weight @ x + net.inputs.bias + net.recurrent.weight @ y
        gates = torch.sigmoid(net_in[4:])  # in of block 0, of block 1, out of block 0, of block 1
        y = torch.cat([torch.zeros(4, dtype=torch.float64), gates])
        for cell in range(4):
            block = cell // 2
            c = c.clone()
            c[cell] += gates[block] * (4 * torch.sigmoid(net_in[cell]) - 2)
            y[cell] = gates[2 + block] * (2 * torch.sigmoid(c[cell]) - 1)
    torch.testing.assert_close(net.read(inputs)[0, -1], y[:4])


def test_truncated_errors_of_1997_go_back_through_the_cells_alone():
    torch.manual_seed(10)
    whole, cut = (LSTM1997(truncated=truncated, first_weights=0.8).double() for truncated in (False, True))
    cut.load_state_dict(whole.state_dict())
    inputs = sequences(x=2)
    torch.testing.assert_close(whole(inputs), cut(inputs))
    found = unrolled.states(cut, inputs)
    gradients = torch.autograd.grad(found[-1][:, 8:].sum(), found)  # of the cells
    assert all(torch.equal(gradient[:, 8:], torch.ones(4, 4)) for gradient in gradients)
    assert not any(gradient[:, :8].any() for gradient in gradients)
    other = unrolled.states(whole, inputs)
    assert torch.autograd.grad(other[-1][:, 8:].sum(), other)[0][:, :8].any()


def test_first_biases_of_the_gates():
    assert LSTM(**SIZES, forget_bias=5.0).inputs.bias[5:10].tolist() == [5.0] * 5
    assert LSTM1997(blocks=3).inputs.bias[6:9].tolist() == [-3.0, -6.0, -9.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RNN(input_size=0, output_size=1), "input_size is 0, nothing. Set at least 1"),
        (lambda: RNN(**SIZES, truncate=0), "truncate is 0, no step. Set at least 1"),
        (lambda: LSTM(**SIZES, truncate=0), "truncate is 0, no step. Set at least 1"),
        (lambda: LSTM(**SIZES, first_weights=-1.0), "first_weights is -1.0, half the width of an interval"),
        (lambda: LSTM1997(blocks=0), "blocks is 0, nothing. Set at least 1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make()
    assert message in str(caught.value)
