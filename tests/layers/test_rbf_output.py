"""The fixed pictures of the digits, and the distances to them."""

import pytest
import torch

from dltk.layers.rbf_output import COLUMNS, ROWS, RBFOutput, digit_codes


def test_codes_are_ten_distinct_pictures_of_plus_and_minus_one():
    codes = digit_codes()
    assert codes.shape == (10, ROWS * COLUMNS) == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    apart = (codes[:, None] != codes).sum(-1) + 84 * torch.eye(10, dtype=torch.int64)
    assert apart.min() >= 10


def test_codes_look_like_digits():
    one, zero, eight = (digit_codes()[k].view(ROWS, COLUMNS) for k in (1, 0, 8))
    assert (one[1:-1, 3:5] == 1).all()  # a stem
    assert (zero[3:9, 2:5] == -1).all()  # a hole
    assert torch.equal(eight, eight.flip(1))  # left is right


def test_distance_equals_the_loop_and_a_linear_layer_plus_norms():
    layer = RBFOutput(digit_codes()).double()
    activities = torch.randn(3, 84, dtype=torch.float64)
    distances = layer(activities)
    for b in range(3):
        for k in range(10):
            wanted = sum((activities[b, d] - layer.codes[k, d]) ** 2 for d in range(84))
            torch.testing.assert_close(distances[b, k], wanted)
    # |x - c|^2 = |x|^2 - 2 c.x + 84, so the nearest code is the greatest score of a linear layer.
    linear = activities.square().sum(1, keepdim=True) - 2 * activities @ layer.codes.T + 84
    torch.testing.assert_close(distances, linear)
    assert torch.equal(distances.argmin(1), (activities @ layer.codes.T).argmax(1))


@pytest.mark.parametrize("digit", range(10))
def test_a_picture_is_nearest_to_itself(digit):
    distances = RBFOutput(digit_codes())(digit_codes()[digit])
    assert distances[digit] == 0
    assert distances.argmin() == digit


def test_nothing_is_trained():
    layer = RBFOutput(digit_codes())
    assert not list(layer.parameters())
    assert not layer.state_dict()
