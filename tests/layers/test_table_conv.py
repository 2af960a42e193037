"""The table convolution against a loop over links and against a masked dense convolution."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dltk.layers.table_conv import TableConv2d

TABLE = ((0, 2), (1,), (3, 0, 1))


def make(table, in_maps=4):
    layer = TableConv2d(in_maps, table, 3).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def test_equals_a_loop_over_links():
    layer = make(TABLE)
    maps = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    link, wanted = 0, []
    for o, row in enumerate(TABLE):
        total = layer.bias[o].expand(2, 5, 4).clone()
        for c in row:
            total = total + F.conv2d(maps[:, c : c + 1], layer.weight[link][None, None])[:, 0]
            link += 1
        wanted.append(total)
    torch.testing.assert_close(layer(maps), torch.stack(wanted, 1))


tables = st.lists(st.sets(st.integers(0, 3), min_size=1).map(sorted), min_size=1, max_size=5)


@given(tables)
@settings(max_examples=25, deadline=None)
def test_equals_a_masked_dense_convolution_and_so_do_its_gradients(table):
    layer = make(table)
    mask = torch.tensor([[float(c in row) for c in range(4)] for row in table], dtype=torch.float64)[..., None, None]
    dense = torch.randn(len(table), 4, 3, 3, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([dense[o, c] for o, row in enumerate(table) for c in row]))
    maps = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    ours, theirs = layer(maps), F.conv2d(maps, dense * mask, layer.bias)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    wanted = torch.stack([dense.grad[o, c] for o, row in enumerate(table) for c in row])
    torch.testing.assert_close(layer.weight.grad, wanted)


def test_only_links_are_parameters():
    layer = make(TABLE)
    assert layer.weight.shape == (6, 3, 3)
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_fan_in_counts_the_links_of_the_map_made():
    layer = make(TABLE)
    assert layer.fan_in("bias").tolist() == [18, 9, 27]
    assert layer.fan_in("weight").flatten().tolist() == [18, 18, 9, 27, 27, 27]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (((0, 4),), r"table: map 0 reads \[0, 4\]. Use the numbers 0 to 3"),
        (((0,), ()), r"table: map 1 reads \[\]. Name at least one map, and each once"),
        (((0,), (1, 1)), r"table: map 1 reads \[1, 1\]. Name at least one map, and each once"),
    ],
)
def test_impossible_tables_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        TableConv2d(4, table, 3)
