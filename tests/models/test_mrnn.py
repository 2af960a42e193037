"""The multiplicative recurrent network against its equations, one with a matrix for each character, and counts."""

import pytest
import torch

from dltk.models.mrnn import MRNN
from dltk.tasks.continuing import continued


def made(**sizes: int) -> MRNN:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = MRNN(**{"vocab_size": 7, "hidden_size": 5, "factors": 4, **sizes}).double()
        torch.nn.init.normal_(model.recurrent.bias)
        torch.nn.init.normal_(model.output.bias)
    return model


def test_units_follow_the_paper_s_equations():
    model, words = made(), torch.tensor([[4, 6, 5, 4], [5, 5, 0, 6]])
    first = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    known, last = model.read(words, first)
    for row, text in enumerate(words.tolist()):
        h = first[row]
        for step, x in enumerate(text):
            f = torch.diag(model.gains.weight[x]) @ model.factors.weight @ h
            h = torch.tanh(model.recurrent.weight @ f + model.embedding.weight[x] + model.recurrent.bias)
            torch.testing.assert_close(known[row, step], h)
        torch.testing.assert_close(last[row], h)
    scores = known[0] @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model.log_probabilities(known[0]).double(), scores.log_softmax(1), atol=1e-6, rtol=1e-5)
    right = torch.tensor([6, 5, 4, 4])
    expected = torch.logsumexp(scores, 1) - scores.gather(1, right[:, None])[:, 0]
    torch.testing.assert_close(model.losses(known[0], right).double(), expected, atol=1e-6, rtol=1e-5)


def test_with_a_block_of_factors_for_each_character_it_has_a_matrix_for_each():
    """A tensor RNN: h_t = tanh(W_{x_t} h_{t-1} + W_hx x_t)."""
    v, n = 7, 5
    model = made(factors=v * n)
    matrices = torch.randn(v, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        model.factors.weight.copy_(torch.eye(n, dtype=torch.float64).repeat(v, 1))
        model.gains.weight.copy_(torch.eye(v, dtype=torch.float64).repeat_interleave(n, 1))
        model.recurrent.weight.copy_(torch.cat(list(matrices), dim=1))
        model.recurrent.bias.zero_()
    text = [4, 6, 5, 5, 4]
    h = torch.randn(1, n, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    known, _ = model.read(torch.tensor([text]), h)
    for step, x in enumerate(text):
        h = torch.tanh(h @ matrices[x].T + model.embedding.weight[x])
        torch.testing.assert_close(known[:, step], h)


def test_gradients_through_time_are_those_of_differences():
    model, words = made(), torch.tensor([[4, 6, 5, 4, 5]])

    def loss() -> torch.Tensor:
        # `losses` rounds to 32 bits, which differences would not bear.
        known = model.read(words, model.start(1).double())[0][0]
        scores = model.output(known)
        return (torch.logsumexp(scores, 1) - scores[:, 6]).sum()

    gradients = torch.autograd.grad(loss(), list(model.parameters()))
    for (name, parameter), gradient in zip(model.named_parameters(), gradients, strict=True):
        assert gradient.any(), name
        at = int(gradient.abs().argmax())
        flat = parameter.detach().view(-1)
        here = float(flat[at])
        found = []
        for step in (1e-6, -1e-6):
            flat[at] = here + step
            found.append(loss().item())
        flat[at] = here
        assert float(gradient.view(-1)[at]) == pytest.approx((found[0] - found[1]) / 2e-6, rel=1e-5), name


def test_states_keep_their_size_at_first():
    model = made(vocab_size=60, hidden_size=200, factors=200)
    words = torch.randint(0, 60, (4, 100), generator=torch.Generator().manual_seed(5))
    known, _ = model.read(words, model.start(4).double())
    sizes = known.square().mean(2)
    assert 0.2 < float(sizes[:, -1].min()) <= float(sizes[:, -1].max()) < 0.9


def test_near_temperature_0_the_likeliest_character_is_written():
    model = made().float().eval()
    greedy = continued(model, [4], length=20, temperature=0)
    assert continued(model, [4], length=20, temperature=1e-4, seed=3) == greedy
    assert continued(model, [4], length=20, seed=3) != greedy


def test_sizes_are_the_paper_s():
    with torch.device("meta"):
        model = MRNN()
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 2 * 1500 * 1500 + 3 * 86 * 1500 + 1500 + 86 == 4_888_586


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"vocab_size": 4}, "vocab_size is 4"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"factors": 0}, "factors is 0, no transition"),
    ],
)
def test_settings_that_make_no_network(settings, says):
    with pytest.raises(ValueError, match=says):
        MRNN(**settings)
