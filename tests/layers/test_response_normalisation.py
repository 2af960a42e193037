"""Response normalisation against a loop over the paper's sum, torch's own layer, and finite differences."""

import pytest
import torch
from torch import Tensor, nn

from dltk.layers import response_normalisation
from dltk.layers.response_normalisation import ResponseNormalisation

LAYOUTS = {"channel by channel": torch.contiguous_format, "channels last": torch.channels_last}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> torch.memory_format:
    return request.param


def maps(*shape: int, layout: torch.memory_format = torch.contiguous_format, scale: float = 30.0) -> Tensor:
    """Activities as large as those of an image whose pixels run to 255, so that alpha matters."""
    drawn = scale * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return drawn.contiguous(memory_format=layout)


def by_loop(x: Tensor, size: int, alpha: float, beta: float, k: float, groups: int = 1) -> Tensor:
    """Section 3.3 to the letter, each group of maps for itself."""
    made = torch.empty_like(x)
    count = x.shape[1] // groups
    for first in range(0, x.shape[1], count):
        for i in range(count):
            near = range(max(0, i - size // 2), min(count - 1, i + size // 2) + 1)
            total = sum(x[:, first + j] ** 2 for j in near)
            made[:, first + i] = x[:, first + i] / (k + alpha * total) ** beta
    return made


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((2, 7, 5, 3), {}),
        ((2, 96, 3, 5), {}),
        ((1, 8, 3, 4), {"size": 3, "alpha": 0.5, "beta": 0.5, "k": 1.0}),
        ((3, 5, 1, 1), {"size": 7}),  # a window wider than the layer
        ((2, 1, 4, 4), {"size": 1}),
        ((2, 6, 5, 7), {"size": 1, "beta": 1.0}),
        ((2, 12, 4, 3), {"groups": 2}),
        ((2, 12, 4, 3), {"groups": 4, "size": 3}),
    ],
)
def test_is_the_sum_of_the_paper(shape, settings, layout):
    x = maps(*shape, layout=layout)
    constants = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0, "groups": 1} | settings
    made = ResponseNormalisation(**settings)(x)
    torch.testing.assert_close(made, by_loop(x, **constants), rtol=1e-13, atol=0)
    assert made.is_contiguous(memory_format=layout)
    assert not torch.allclose(made, x * constants["k"] ** -constants["beta"], rtol=1e-3) or constants["size"] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_torchs_with_n_times_its_alpha_forward_and_backward(dtype, layout):
    theirs, ours = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0), ResponseNormalisation()
    x, y = (maps(3, 13, 9, 7, layout=layout).to(dtype).requires_grad_() for _ in range(2))
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    made, wanted = ours(x), theirs(y)
    torch.testing.assert_close(made, wanted)
    torch.autograd.backward([made, wanted], [upstream, upstream])
    torch.testing.assert_close(x.grad, y.grad)


def test_is_not_torchs_with_the_same_alpha():
    x = maps(2, 13, 5, 5)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ResponseNormalisation()(x), nn.LocalResponseNorm(5, k=2.0)(x), rtol=1e-2, atol=0)


@pytest.mark.parametrize("settings", [{}, {"beta": 0.5, "size": 3}, {"groups": 2}, {"k": 1.0, "beta": 1.5}])
def test_gradient_by_finite_differences(settings, layout):
    x = maps(2, 6, 3, 5, layout=layout, scale=1.0).requires_grad_()
    assert torch.autograd.gradcheck(ResponseNormalisation(**{"alpha": 0.3, **settings}), x)


def test_the_gradient_may_lie_in_another_order(layout):
    x, y = (maps(2, 6, 5, 3, layout=layout).requires_grad_() for _ in range(2))
    upstream = maps(2, 6, 5, 3)
    for given, order in ((x, torch.contiguous_format), (y, torch.channels_last)):
        ResponseNormalisation()(given).backward(upstream.contiguous(memory_format=order))
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-13, atol=0)


def test_maps_that_are_a_view():
    x = maps(4, 12, 6, 8)
    view = x[1:4, 2:9, ::2, 1:]
    torch.testing.assert_close(ResponseNormalisation()(view), ResponseNormalisation()(view.clone()))


@pytest.mark.parametrize("block", [1, 40, 211])
def test_blocks_of_any_size_give_the_same(block, layout, monkeypatch):
    x, y = (maps(5, 6, 5, 3, layout=layout).requires_grad_() for _ in range(2))
    whole = ResponseNormalisation()(x)
    whole.sum().backward()
    monkeypatch.setattr(response_normalisation, "BLOCK", block)
    parts = ResponseNormalisation()(y)
    parts.sum().backward()
    torch.testing.assert_close(parts, whole, rtol=1e-14, atol=0)
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", [{}, {"groups": 2}, {"size": 11}, {"beta": 0.5, "size": 3}])
def test_in_one_step_as_in_several(settings, layout, monkeypatch):
    x, y = (maps(5, 6, 5, 3, layout=layout).requires_grad_() for _ in range(2))
    several = ResponseNormalisation(**settings)(x)
    several.sum().backward()
    monkeypatch.setattr(response_normalisation, "_in_cache", lambda _: False)  # as on a GPU, or compiled
    one = ResponseNormalisation(**settings)(y)
    one.sum().backward()
    torch.testing.assert_close(one, several, rtol=1e-13, atol=0)
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-12, atol=1e-14)


def test_groups_change_the_two_maps_on_each_side_of_the_cut():
    x = maps(2, 12, 4, 3)
    changed = (ResponseNormalisation()(x) != ResponseNormalisation(groups=2)(x)).any(3).any(2).any(0)  # (12,)
    assert changed.nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_sums_are_exact_within_half_precision():
    x = maps(2, 16, 5, 5)
    wanted = by_loop(x.bfloat16().double(), 5, 1e-4, 0.75, 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = ResponseNormalisation()(x.bfloat16())
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made, wanted.bfloat16(), rtol=2**-8, atol=0)  # one rounding, that of the result


def test_keeps_its_input_alone():
    x = maps(2, 16, 5, 5).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        ResponseNormalisation()(x)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]


def test_a_window_has_a_middle_and_groups_are_equal():
    with pytest.raises(AssertionError, match="a window of 4 maps has no middle"):
        ResponseNormalisation(4)
    with pytest.raises(AssertionError, match="6 maps make no 4 equal groups"):
        ResponseNormalisation(groups=4)(maps(1, 6, 2, 2))
    with pytest.raises(AssertionError, match=r"maps are \(6, 2, 2\), not \(b, c, h, w\)"):
        ResponseNormalisation()(maps(6, 2, 2))
