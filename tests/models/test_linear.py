"""The linear classifier: its size, what it cannot do, and its optimum against scikit-learn's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from dltk.models.linear import Linear
from dltk.models.mlp import MLP

XOR = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).view(4, 1, 1, 2)
XOR_TARGETS = torch.tensor([0, 1, 1, 0])


def minimise(model, images, targets, penalty=0.0, steps=200):
    """Bring the cross-entropy, summed, plus half the squared weights times `penalty`, to its minimum by L-BFGS."""
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=steps, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        weights = sum(p.square().sum() for name, p in model.named_parameters() if name.endswith("weight"))
        loss = F.cross_entropy(model(images), targets, reduction="sum") + 0.5 * penalty * weights
        loss.backward()
        return loss

    optimizer.step(closure)


def accuracy(model, images, targets):
    with torch.no_grad():
        return (model(images).argmax(1) == targets).double().mean().item()


def test_has_d_plus_1_parameters_a_class():
    assert sum(p.numel() for p in Linear(num_classes=10).parameters()) == 10 * (28 * 28 + 1) == 7850


@pytest.mark.parametrize("seed", range(5))
def test_xor_stays_at_three_of_four(seed):
    torch.manual_seed(seed)
    model = Linear(num_classes=2, image=[1, 1, 2])
    torch.nn.init.normal_(model.output.weight)
    torch.nn.init.normal_(model.output.bias)
    minimise(model, XOR, XOR_TARGETS)
    assert accuracy(model, XOR, XOR_TARGETS) <= 0.75


def test_a_hidden_layer_solves_xor():
    torch.manual_seed(0)
    model = MLP(num_classes=2, image=[1, 1, 2], hidden_sizes=[8], activation="tanh")
    minimise(model, XOR, XOR_TARGETS)
    assert accuracy(model, XOR, XOR_TARGETS) == 1.0


def test_no_line_beats_three_of_four():
    # By brute force over a circle of directions and a range of thresholds.
    points = XOR.flatten(1).double()
    best = 0.0
    for angle in np.linspace(0, 2 * np.pi, 181):
        heights = points @ torch.tensor([np.cos(angle), np.sin(angle)])
        for threshold in np.linspace(-2, 2, 81):
            best = max(best, ((heights > threshold).long() == XOR_TARGETS).double().mean().item())
    assert best == 0.75


def test_optimum_equals_scikit_learn():
    data = load_digits(n_class=4)
    images = torch.tensor(data.images[:300] / 16.0).view(-1, 1, 8, 8)
    targets = torch.tensor(data.target[:300])
    model = Linear(num_classes=4, image=[1, 8, 8]).double()
    minimise(model, images, targets, penalty=1.0, steps=2000)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(data.data[:300] / 16.0, data.target[:300])
    ours = model.output.weight.detach().numpy()
    np.testing.assert_allclose(ours, theirs.coef_, atol=1e-3)
