"""The continuous-space language model: its probabilities sum to one; with every word on the shortlist it is NPLM."""

import pytest
import torch

from dltk.models.cslm import CSLM
from dltk.models.ngram import NGram
from dltk.models.nplm import NPLM

SIZES = {"vocab_size": 14, "order": 3, "embedding_size": 3, "hidden_size": 5}


def lanes() -> torch.Tensor:
    drawn = torch.Generator().manual_seed(0)
    return (4 + torch.rand(3, 90, generator=drawn).square() * 10).long()  # low numbers are frequent


def made(shortlist: int, **more: int) -> CSLM:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = CSLM(**{**SIZES, **more}, shortlist=shortlist).double()
    model.count(lanes())
    return model


CONTEXTS = torch.tensor([[4, 5], [5, 4], [13, 9], [3, 3], [4, 4], [12, 13]])  # some were never seen


def test_probabilities_sum_to_one():
    model = made(8)
    sums = model.log_probabilities(CONTEXTS).double().exp().sum(1)
    torch.testing.assert_close(sums, torch.ones(6, dtype=torch.float64), atol=1e-6, rtol=0)
    whole = model(torch.tensor([[4, 7, 13], [5, 5, 12]])).exp().sum(2)
    torch.testing.assert_close(whole, torch.ones_like(whole), atol=1e-6, rtol=0)


def test_the_network_shares_the_mass_of_the_shortlist_and_counts_tell_the_rest():
    model, counted = made(8), NGram(vocab_size=14, order=3)
    counted.fit(lanes())
    of_counts = counted.log_probabilities(CONTEXTS).exp()
    mass = of_counts[:, :8].sum(1)
    torch.testing.assert_close(model.counted.mass(CONTEXTS), mass, atol=1e-12, rtol=0)
    assert mass.std() > 0.01  # it is another one after other words
    told = model.scores(CONTEXTS).softmax(1)
    expected = torch.cat([told * mass[:, None], of_counts[:, 8:]], dim=1)
    torch.testing.assert_close(model.log_probabilities(CONTEXTS).double().exp(), expected, atol=1e-6, rtol=1e-5)
    right = torch.tensor([4, 9, 7, 13, 3, 8])
    losses = model.losses(CONTEXTS, right)
    torch.testing.assert_close(losses.double(), -expected.gather(1, right[:, None])[:, 0].log(), atol=1e-6, rtol=1e-5)


def test_with_every_word_on_the_shortlist_it_is_the_model_of_2003():
    model, other = made(14), NPLM(**SIZES).double()
    other.load_state_dict({name: value for name, value in model.state_dict().items() if "counted" not in name})
    torch.testing.assert_close(model.log_probabilities(CONTEXTS), other.log_probabilities(CONTEXTS))
    right = torch.tensor([4, 9, 7, 13, 3, 8])
    torch.testing.assert_close(model.losses(CONTEXTS, right), other.losses(CONTEXTS, right))


def test_words_off_the_shortlist_move_nothing():
    model = made(8)
    model.losses(CONTEXTS, torch.tensor([8, 9, 10, 13, 12, 11])).sum().backward()
    assert not any(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)
    model.losses(CONTEXTS, torch.tensor([8, 9, 7, 13, 12, 11])).sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_counts_come_back_with_the_state():
    model, other = made(8), CSLM(**SIZES, shortlist=8).double()
    assert (model.counted.fitted, other.counted.fitted) == (True, False)
    with pytest.raises(RuntimeError, match="have not been counted"):
        other.log_probabilities(CONTEXTS)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.log_probabilities(CONTEXTS), model.log_probabilities(CONTEXTS))


def test_sizes_are_the_paper_s():
    """Three words before, vectors of 200, 500 units, a shortlist of 8,192."""
    with torch.device("meta"):
        model = CSLM(vocab_size=50_000)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 50_000 * 200 + (3 * 200 * 500 + 500) + (500 * 8192 + 8192) == 10_000_000 + 300_500 + 4_104_192


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"vocab_size": 4}, "vocab_size is 4"),
        ({"order": 1}, "order is 1, no word before"),
        ({"shortlist": 0}, "shortlist is 0, no word for the network"),
        ({"vocab_size": 50, "shortlist": 51}, "shortlist is 51, of 50 words. Set at most as many"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"embedding_size": 0}, "embedding_size is 0"),
    ],
)
def test_settings_that_make_no_network(settings, says):
    with pytest.raises(ValueError, match=says):
        CSLM(**settings)
