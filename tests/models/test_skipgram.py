"""Skip-gram against its equations: gradients, the optimum of negative sampling, and a tree that sums to one."""

import math

import pytest
import torch
import torch.nn.functional as F

from dltk.models.skipgram import SkipGram

WORDS = 90  # more than one band


@pytest.fixture(name="model")
def made_model() -> SkipGram:
    return drawn(SkipGram(vocab_size=12, size=5))


def drawn(model: SkipGram) -> SkipGram:
    """All its vectors drawn, in double precision."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return model.double()


def text_and_pairs(reach: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    words = torch.randint(4, 12, (WORDS,), generator=torch.Generator().manual_seed(2))
    pairs = [
        (i, j) for i in range(WORDS) for j in range(max(0, i - reach), min(WORDS, i + reach + 1)) if i != j and i % 3
    ]
    at, beside = torch.tensor(pairs).T
    return words, at, beside


def test_losses_are_those_of_equation_4(model):
    words, at, beside = text_and_pairs(3)
    negatives = torch.randint(0, 12, (len(at), 4), generator=torch.Generator().manual_seed(3))
    found = model.losses(words, at, beside, 3, negatives)
    v, out = model.embedding.weight, model.output.weight
    for pair in range(0, len(at), 17):
        w = v[words[at[pair]]]
        expected = -F.logsigmoid(out[words[beside[pair]]] @ w) - F.logsigmoid(-(out[negatives[pair]] @ w)).sum()
        assert float(found[pair]) == pytest.approx(float(expected), rel=1e-12)
    shared = torch.tensor([5, 9, 9])
    whole = sum(
        -F.logsigmoid(out[words[j]] @ v[words[i]]) - 0.5 * F.logsigmoid(-(out[shared] @ v[words[i]])).sum()
        for i, j in zip(at.tolist(), beside.tolist(), strict=True)
    )
    assert float(model.shared_loss(words, at, beside, 3, shared, 0.5)) == pytest.approx(float(whole), rel=1e-12)


@pytest.mark.parametrize("output", ["negative", "hierarchical"])
def test_gradients_are_those_of_differences(output):
    model = drawn(SkipGram(vocab_size=12, size=3, output=output))
    model.take_counts(torch.tensor([0, 0, 0, 0, 9, 7, 5, 5, 3, 2, 1, 1]))
    words, at, beside = text_and_pairs(2)
    negatives = None if output == "hierarchical" else torch.arange(2 * len(at)).view(-1, 2) % 12
    parameters = dict(model.named_parameters())

    def loss(*values):
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(Losses(model), {f"model.{n}": v for n, v in given.items()}, (
            words, at, beside, 2, negatives,
        ))  # fmt: skip

    assert torch.autograd.gradcheck(loss, tuple(parameters.values()), fast_mode=True)


class Losses(torch.nn.Module):
    """A network whose call is the sum of its losses."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *given):
        return self.model.losses(*given).sum()


def test_the_optimum_of_negative_sampling_is_mutual_information_less_log_k():
    """Levy, Goldberg, "Neural word embedding as implicit matrix factorization", NIPS (2014), equation 11."""
    counts = 3 * torch.tensor([[5, 5, 2], [5, 2, 1], [2, 1, 1]])  # of words beside each other
    of_words, total, k = counts.sum(1), counts.sum(), 2
    model = drawn(SkipGram(vocab_size=7, size=7))
    words, negatives = [], []
    for w in range(3):
        noise = [n for n in range(3) for _ in range(int(of_words[w] * of_words[n] / total))]  # as often as by chance
        beside = [c for c in range(3) for _ in range(int(counts[w, c]))]
        assert len(noise) == len(beside)
        words += [(4 + w, 4 + c) for c in beside]
        negatives += [(4 + n, 4 + n) for n in noise]
    at = torch.arange(0, 2 * len(words), 2)
    text = torch.tensor(words).flatten()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = model.losses(text, at, at + 1, 1, torch.tensor(negatives)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    products = (model.embedding.weight @ model.output.weight.T)[4:, 4:]
    information = (counts * total / (of_words[:, None] * of_words)).double().log()
    torch.testing.assert_close(products.detach(), information - math.log(k), atol=1e-5, rtol=0)


def test_a_tree_s_leaves_sum_to_one_and_frequent_words_are_near_its_root():
    model = drawn(SkipGram(vocab_size=40, size=6, output="hierarchical"))
    counts = torch.tensor([0, 0, 0, 0, *(1000 // (n + 1) for n in range(30))])
    with pytest.raises(RuntimeError, match="take_counts"):
        model.ways()
    model.take_counts(counts)
    log_p = model(torch.tensor([[4, 20]]))[0]
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (log_p[:, :4] == -torch.inf).all()
    words, at = torch.tensor([4, 20, 9]), torch.tensor([0, 1])
    losses = model.losses(words, at, torch.tensor([1, 2]), 1, None)
    torch.testing.assert_close(losses, -log_p[[0, 1], [20, 9]])
    lengths = (model.ways()[1] != 0).sum(1)[4:34]
    shares = counts[4:].double() / counts.sum()
    entropy = float(-(shares * shares.log2()).sum())
    assert entropy <= float(shares @ lengths.double()) < entropy + 1
    assert (lengths.diff() >= 0).all()


def test_counts_are_part_of_the_state_and_change_the_tree():
    one, other = (SkipGram(vocab_size=12, size=2, output="hierarchical") for _ in range(2))
    one.take_counts(torch.arange(12))
    other.take_counts(torch.arange(12, 0, -1))
    other.ways()
    other.load_state_dict(one.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(one.ways(), other.ways(), strict=True))
    with pytest.raises(ValueError, match="vocab_size is 12, and the text has 13 words"):
        one.take_counts(torch.ones(13))


def test_first_vectors_and_sizes():
    model = SkipGram(vocab_size=50, size=10)
    assert float(model.embedding.weight.abs().max()) <= 0.05
    assert not model.output.weight.any()
    with torch.device("meta"):
        large = SkipGram(vocab_size=692_000, size=300)
    assert sum(parameter.numel() for parameter in large.parameters()) == 415_200_000  # entry of the paper's 692k words
    for settings, says in (({"vocab_size": 4}, "vocab_size is 4"), ({"size": 0}, "size is 0")):
        with pytest.raises(ValueError, match=says):
            SkipGram(**settings)
