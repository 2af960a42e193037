"""Sequences: losses and wrong sequences as sums, what does not fit, and how gradients flow back."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dltk.data.long_lags import Adding, Copying, TemporalOrder
from dltk.layers import unrolled
from dltk.models.lstm import LSTM
from dltk.models.lstm1997 import LSTM1997
from dltk.models.rnn import RNN
from dltk.tasks.sequences import Sequences


def batch_of(part, count):
    return {**part.batch(np.arange(count)), "weight": torch.ones(count)}


class Given(nn.Module):
    """Gives what it was made with."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs, at):
        return self.outputs


def measured(outputs, target, weight, **settings):
    batch = {"inputs": None, "at": None, "target": torch.tensor(target), "weight": torch.tensor(weight)}
    return Sequences(Given(torch.tensor(outputs)), **settings).measure(batch)


def test_squared_errors_are_sums_over_sequences_of_weight():
    outputs, target = [[[0.5]], [[0.2]], [[0.9]]], [[[0.53]], [[0.25]], [[0.0]]]
    found = measured(outputs, target, [1.0, 1.0, 0.0])
    assert float(found["loss"]) == pytest.approx(0.03**2 + 0.05**2)
    assert float(found["weight"]) == 2
    assert [float(each) for each in found["sequence_error"]] == [100.0, 2.0]  # 0.05 is wrong, 0.03 is not
    assert float(measured(outputs, target, [1.0, 1.0, 0.0], tolerance=0.06)["sequence_error"][0]) == 0


def test_a_sequence_is_wrong_where_one_of_its_answers_is():
    outputs = [[[2.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 1.0]]]
    found = measured(outputs, [[0, 1], [0, 0]], [1.0, 1.0], loss="cross_entropy")
    assert [float(each) for each in found["sequence_error"]] == [100.0, 2.0]
    scores, right = torch.tensor(outputs), torch.tensor([[0, 1], [0, 0]])
    assert float(found["loss"]) == pytest.approx(2 * float(F.cross_entropy(scores.flatten(0, 1), right.flatten())))


def test_the_expected_loss_is_that_of_a_guess():
    task = Sequences(RNN(input_size=10, output_size=8), loss="cross_entropy")
    assert task.expected_loss() is None
    task.measure(batch_of(Copying("train", steps=5), 4))
    assert task.expected_loss() == pytest.approx(np.log(8))


@pytest.mark.parametrize(
    ("part", "outputs", "loss", "message"),
    [
        (
            Adding("val", steps=30),
            1,
            "cross_entropy",
            "targets are numbers, the loss is cross_entropy. Set task.loss to",
        ),
        (Adding("val", steps=30), 3, "squared_error", "gives 3 numbers, the data have 1. Set model.output_size to 1"),
        (Copying("val"), 8, "squared_error", "targets are classes, the loss is squared_error. Set task.loss to"),
        (Copying("val"), 4, "cross_entropy", "the data have class 7, the network gives 4 scores. Raise"),
    ],
)
def test_what_does_not_fit_is_said(part, outputs, loss, message):
    task = Sequences(RNN(input_size=part[0]["inputs"].shape[1], output_size=outputs), loss=loss)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        task.measure(batch_of(part, 30))
    assert message in str(caught.value)
    with pytest.raises(ValueError, match=r"tolerance is 0\.0, how far an output may be off"):
        Sequences(task.model, tolerance=0.0)


@pytest.mark.parametrize("make", [RNN, LSTM])
def test_gradient_flow_is_what_a_nudge_of_the_state_does_to_the_loss(make):
    torch.manual_seed(0)
    task = Sequences(make(input_size=2, output_size=1, hidden_size=3).double())
    batch = batch_of(Adding("val", steps=24), 1)
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    net, inputs, at = task.model, batch["inputs"], batch["at"]
    steps = int(at[0, 0]) + 1

    def loss(nudged, direction):
        state = net.start(inputs)
        for step, a in enumerate(net.inputs(inputs[:, :steps]).unbind(1)):
            state = net.step(a, state)
            if step == nudged:
                state = state + direction
        return float((net.output(net.units(state)) - batch["target"][:, 0]).square().sum())

    flow = task.gradient_flow(batch)
    assert len(flow) == steps
    width = net.start(inputs).shape[1]
    for step in (0, steps // 2, steps - 1):
        with torch.no_grad():
            slopes = [(loss(step, 1e-4 * e) - loss(step, -1e-4 * e)) / 2e-4 for e in torch.eye(width).double()]
        assert float(flow[step]) == pytest.approx(np.linalg.norm(slopes), rel=1e-4)


def test_gradients_of_an_rnn_vanish_where_those_of_a_cell_that_only_adds_do_not():
    torch.manual_seed(1)
    batch = batch_of(Adding("val", steps=100), 16)
    sizes = {"input_size": 2, "output_size": 1}
    kept = {}
    for name, net in {
        "rnn": RNN(**sizes),
        "forgets": LSTM(**sizes, forget_bias=0.0),
        "remembers": LSTM(**sizes, forget_bias=5.0),
        "1997": LSTM1997(),
    }.items():
        flow = Sequences(net).gradient_flow(batch)
        kept[name] = float(flow[10] / flow[-1])
    assert kept["rnn"] < 1e-9
    assert kept["forgets"] < 1e-6
    assert kept["remembers"] > 0.1
    assert kept["1997"] > 0.1


def test_what_keeps_gradients_from_vanishing_is_its_equation():
    torch.manual_seed(2)
    net, batch = RNN(input_size=8, output_size=4, hidden_size=6).double(), batch_of(TemporalOrder("val", steps=20), 3)
    batch["inputs"] = batch["inputs"].double()
    task = Sequences(net, loss="cross_entropy", vanishing=0.5).train()
    found = task.measure(batch)
    expected = []
    for row in range(3):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        states = unrolled.states(net, alone["inputs"])
        states = states[: int(alone["at"]) + 1]  # what comes behind the answer hears nothing
        scores = net.output(states[-1])
        gradients = torch.autograd.grad(F.cross_entropy(scores, alone["target"][0]), states)
        terms = []
        for t in range(len(states) - 1):
            jacobian = torch.diag(1 - states[t + 1][0].detach() ** 2) @ net.recurrent.weight
            terms.append(((gradients[t + 1][0] @ jacobian).norm() / gradients[t + 1].norm() - 1) ** 2)
        expected.append(torch.stack(terms).mean())
    expected = torch.stack(expected)
    assert float(found["vanishing"][0]) == pytest.approx(expected.sum().item(), rel=1e-6)
    plain = Sequences(net, loss="cross_entropy").train().measure(batch)["loss"]
    assert found["loss"].item() == pytest.approx((plain + 0.5 * expected.sum()).item(), rel=1e-6)
    # The derivative of the term goes to the recurrent weights alone, with the states as they are.
    gradients = torch.autograd.grad(found["loss"], list(net.parameters()))
    others = torch.autograd.grad(plain, list(net.parameters()))
    (pull,) = torch.autograd.grad(0.5 * expected.sum(), net.recurrent.weight, retain_graph=True)
    for (name, _), one, other in zip(net.named_parameters(), gradients, others, strict=True):
        torch.testing.assert_close(one, other + pull if name == "recurrent.weight" else other, msg=name)


@pytest.mark.parametrize("feedback", [False, True])
def test_an_orthogonal_linear_recurrence_needs_no_keeping(feedback):
    net = RNN(input_size=8, output_size=4, hidden_size=6, activation="identity", feedback=feedback).double()
    torch.nn.init.orthogonal_(net.recurrent.weight, generator=torch.Generator().manual_seed(4))
    batch = batch_of(TemporalOrder("val", steps=50), 4)
    batch["inputs"] = batch["inputs"].double()
    if feedback:  # what comes back by the outputs is part of the recurrence
        with torch.no_grad():
            net.recurrent.weight -= net.fed_back.weight @ net.output.weight
    found = Sequences(net, loss="cross_entropy", vanishing=1.0).train().measure(batch)
    assert float(found["vanishing"][0]) == pytest.approx(0, abs=1e-10)
    with torch.no_grad():
        net.recurrent.weight *= 0.5
    shrunk = Sequences(net, loss="cross_entropy", vanishing=1.0).train().measure(batch)
    assert float(shrunk["vanishing"][0]) > 0.1


def test_an_evaluation_measures_the_loss_alone_and_samples_without_weight_pull_nothing():
    torch.manual_seed(3)
    net, batch = RNN(input_size=8, output_size=4), batch_of(TemporalOrder("val", steps=20), 4)
    task = Sequences(net, loss="cross_entropy", vanishing=2.0)
    assert task.eval().measure(batch)["loss"] == Sequences(net, loss="cross_entropy").eval().measure(batch)["loss"]
    weight = torch.tensor([1.0, 1.0, 0.0, 0.0])
    some = task.train().measure({**batch, "weight": weight})
    few = task.measure({name: value[:2] for name, value in batch.items()})
    torch.testing.assert_close(some["loss"], few["loss"])
    torch.testing.assert_close(some["vanishing"][0], few["vanishing"][0])


def test_a_network_whose_gradients_have_vanished_is_not_torn_to_nowhere():
    net, batch = RNN(input_size=8, output_size=4, activation="relu"), batch_of(TemporalOrder("val", steps=20), 4)
    torch.nn.init.zeros_(net.recurrent.weight)
    found = Sequences(net, loss="cross_entropy", vanishing=1.0).train().measure(batch)
    found["loss"].backward()
    assert float(found["vanishing"][0]) == 4  # one step hears of the loss in each, and the one before it of nothing
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("model", "vanishing", "message"),
    [
        (RNN(input_size=8, output_size=4), -1.0, "vanishing is -1.0, the weight of a term. Set 0 or more"),
        (LSTM(input_size=8, output_size=4), 1.0, "and LSTM has no one matrix that carries gradients back. Set 0, or"),
    ],
)
def test_gradients_that_cannot_be_kept(model, vanishing, message):
    with pytest.raises(ValueError, match=message):
        Sequences(model, vanishing=vanishing)
