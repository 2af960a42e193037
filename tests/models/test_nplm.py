"""The neural probabilistic language model against its equation and the paper's counts."""

import pytest
import torch

from dltk.layers.tokens import EOS
from dltk.models.nplm import NPLM

SIZES = {"vocab_size": 12, "order": 4, "embedding_size": 3, "hidden_size": 5}


@pytest.fixture(name="model", params=[False, True])
def made_model(request) -> NPLM:
    generator = torch.Generator().manual_seed(5)
    model = NPLM(**SIZES, direct=request.param).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return model


def test_scores_are_those_of_equation_1(model):
    words = [7, 4, 9]  # the nearest last
    x = torch.cat([model.embedding.weight[word] for word in reversed(words)])
    y = model.output.bias + model.output.weight @ torch.tanh(model.hidden.bias + model.hidden.weight @ x)
    if model.direct is not None:
        y = y + model.direct.weight @ x
    torch.testing.assert_close(model.scores(torch.tensor([words]))[0], y)
    losses = model.losses(torch.tensor([words]), torch.tensor([6]))
    assert float(losses) == pytest.approx(float(torch.logsumexp(y, 0) - y[6]), rel=1e-6)


def test_contexts_begin_with_ends_of_sentences_and_go_on(model):
    words = torch.tensor([[7, 4, 9, 5, 6]])
    found, last = model.read(words, model.start(1))
    expected = [[EOS, EOS, 7], [EOS, 7, 4], [7, 4, 9], [4, 9, 5], [9, 5, 6]]
    assert found[0].tolist() == expected
    assert last.tolist() == [[9, 5, 6]]
    first, state = model.read(words[:, :2], model.start(1))
    rest, _ = model.read(words[:, 2:], state)
    assert torch.equal(torch.cat([first, rest], dim=1), found)


def test_without_hidden_weights_it_is_log_bilinear():
    model = NPLM(**SIZES, direct=True).double()
    torch.nn.init.normal_(model.direct.weight, generator=torch.Generator().manual_seed(1))
    torch.nn.init.zeros_(model.output.weight)
    contexts = torch.tensor([[4, 5, 6], [4, 5, 7], [8, 5, 6], [8, 5, 7]])
    # Scores are sums over the words of a context: what one word adds does not depend on the others.
    one, two, three, four = model.scores(contexts)
    torch.testing.assert_close(one - two, three - four)
    torch.testing.assert_close(one - three, two - four)


def test_words_that_are_not_read_get_no_gradient_and_the_others_the_right_one(model):
    contexts, right = torch.tensor([[7, 4, 9], [4, 4, 5]]), torch.tensor([6, 11])
    model.losses(contexts, right).sum().backward()
    read = model.embedding.weight.grad.abs().sum(1) > 0
    assert read.nonzero()[:, 0].tolist() == [4, 5, 7, 9]
    x = model.embedding(contexts.flip(1)).flatten(1).detach().requires_grad_()

    def losses(x, weight):
        hidden = torch.tanh(x @ weight.T + model.hidden.bias)
        y = hidden @ model.output.weight.T + model.output.bias
        y = y if model.direct is None else y + x @ model.direct.weight.T
        return (torch.logsumexp(y, 1) - y.gather(1, right[:, None])[:, 0]).sum()

    expected = torch.autograd.grad(losses(x, model.hidden.weight), model.hidden.weight)[0]
    torch.testing.assert_close(model.hidden.weight.grad, expected, atol=1e-6, rtol=1e-5)


def test_probabilities_sum_to_one(model):
    sums = model(torch.tensor([[4, 7], [5, 5]])).exp().sum(2)
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("direct", "count"), [(False, 2_158_273), (True, 4_124_233)])
def test_sizes_are_the_paper_s(direct, count):
    """The paper's formula, v (1 + n m + h) + h (1 + (n - 1) m), and v m less where nothing is direct; Brown corpus."""
    v, n, m, h = 16_383, 5, 30, 100
    with torch.device("meta"):
        model = NPLM(vocab_size=v, order=n, embedding_size=m, hidden_size=h, direct=direct)
    found = sum(parameter.numel() for parameter in model.parameters())
    paper = v * (1 + n * m + h) + h * (1 + (n - 1) * m)
    assert found == count == paper - (0 if direct else v * (n - 1) * m)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"vocab_size": 4}, "vocab_size is 4"),
        ({"order": 1}, "order is 1, no word before"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"embedding_size": 0}, "embedding_size is 0"),
    ],
)
def test_settings_that_make_no_network(settings, says):
    with pytest.raises(ValueError, match=says):
        NPLM(**settings)
