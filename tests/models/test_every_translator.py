"""What every network that translates keeps: gradients, padding, states, first weights, the same step by step.

The small forms here have the layers of the full ones; their own files hold the counts and equations of these.
"""

import pytest
import torch
import torch.nn.functional as F

from dltk import catalogue
from dltk.layers import tokens
from dltk.models.large_vocab import LargeVocabulary
from dltk.models.rnnencdec import RNNEncoderDecoder
from dltk.models.rnnsearch import RNNsearch
from dltk.models.seq2seq import Seq2Seq
from tests.models import kept

VOCABULARIES = {"source_vocab_size": 11, "target_vocab_size": 9}
SEARCH = {"embedding_size": 6, "hidden_size": 8, "alignment_size": 5, "maxout_size": 4}
SUMMARY = {"embedding_size": 6, "hidden_size": 8, "maxout_size": 4, "first_weights": "fan_in"}
MAKERS = {
    "seq2seq": lambda: Seq2Seq(**VOCABULARIES, embedding_size=6, hidden_size=8, num_layers=2, first_weights=0.4),
    "seq2seq_forwards": lambda: Seq2Seq(
        **VOCABULARIES, embedding_size=6, hidden_size=8, num_layers=1, reverse_source=False, first_weights=0.4
    ),
    "rnnencdec": lambda: RNNEncoderDecoder(**VOCABULARIES, **SUMMARY, output_rank=3),
    "rnnencdec_whole": lambda: RNNEncoderDecoder(**VOCABULARIES, **SUMMARY, output_rank=None, dropout=0.5),
    "rnnsearch": lambda: RNNsearch(**VOCABULARIES, **SEARCH, first_weights="fan_in"),
    "large_vocab": lambda: LargeVocabulary(**VOCABULARIES, **SEARCH, sampled=4, first_weights="fan_in"),
    "rnnsearch_dropout": lambda: RNNsearch(**VOCABULARIES, **SEARCH, first_weights="fan_in", dropout=0.5),
}
SOURCE = torch.tensor([[4, 5, 6, 7, 3], [8, 9, 3, 0, 0], [10, 3, 0, 0, 0]])  # (3, 5)
TARGET = torch.tensor([[5, 6, 3, 0], [4, 7, 8, 3], [6, 3, 0, 0]])  # (3, 4)


@pytest.fixture(params=MAKERS)
def maker(request):
    torch.manual_seed(0)
    return MAKERS[request.param]


def loss(model, source=SOURCE, target=TARGET):
    """The sum of the negative log-likelihoods of the targets' tokens."""
    scores = model(source, tokens.shifted(target))  # (b, t, v)
    return F.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=tokens.PAD, reduction="sum")


def gradients(model, value):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(value, trained)])


def test_every_network_of_the_catalogue_is_here():
    rows = {row.name for row in catalogue.MODELS.values() if row.task == "translation"}
    assert rows <= set(MAKERS)


def test_every_parameter_gets_a_gradient(maker):
    model = maker()
    loss(model).backward()
    kept.assert_every_weight_has_a_gradient(model)


def test_steps_lower_the_loss(maker):
    kept.assert_steps_lower(loss, maker(), lr=1e-2)


def test_padding_enters_neither_loss_nor_gradient(maker):
    model = maker().double().eval()
    plain = loss(model)
    padded = loss(model, F.pad(SOURCE, (0, 3)), F.pad(TARGET, (0, 2)))
    torch.testing.assert_close(padded, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(model, padded), gradients(model, plain), rtol=0, atol=1e-12)


def test_a_sentence_alone_gives_what_it_gives_among_others(maker):
    model = maker().double().eval()
    together = model(SOURCE, tokens.shifted(TARGET))
    for at in range(3):
        s, t = int(tokens.lengths(SOURCE)[at]), int(tokens.lengths(TARGET)[at])
        alone = model(SOURCE[at : at + 1, :s], tokens.shifted(TARGET[at : at + 1, :t]))
        torch.testing.assert_close(alone[0], together[at, :t], rtol=0, atol=1e-12)


def test_step_by_step_gives_what_one_pass_gives(maker):
    model = maker().double().eval()
    words = tokens.shifted(TARGET)
    state, seen = model.start(SOURCE), []
    for step in range(words.shape[1]):
        readout, state = model.step(words[:, step], state)
        seen.append(model.output(readout))
    torch.testing.assert_close(torch.stack(seen, 1), model(SOURCE, words), rtol=0, atol=1e-12)


def test_gradients_are_finite_differences(maker):
    model = maker().double().eval()
    parameters = {name: p.detach().requires_grad_() for name, p in model.named_parameters() if p.requires_grad}
    generator = torch.Generator().manual_seed(3)
    directions = {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in parameters.items()}

    def along(distance):
        moved = {name: p + distance * directions[name] for name, p in parameters.items()}
        scores = torch.func.functional_call(model, moved, (SOURCE, tokens.shifted(TARGET)))
        return F.cross_entropy(scores.flatten(0, 1), TARGET.flatten(), ignore_index=tokens.PAD, reduction="sum")

    found = torch.autograd.grad(along(0.0), list(parameters.values()))
    slope = sum((g * d).sum() for g, d in zip(found, directions.values(), strict=True))
    step = 1e-5
    torch.testing.assert_close((along(step) - along(-step)) / (2 * step), slope, rtol=1e-6, atol=1e-7)


def test_a_sample_without_tokens_is_borne(maker):
    model = maker()
    blank = torch.zeros(1, 3, dtype=torch.int64)
    assert model(blank, tokens.shifted(blank)).isfinite().all()


def test_state_round_trips(maker, tmp_path):
    kept.assert_state_round_trips(maker, loss, tmp_path / "state.pt")


def test_first_weights_depend_on_seed_and_name_only(maker):
    kept.assert_first_weights_depend_on_seed_and_name_only(maker)


def test_construction_initialises_every_parameter(maker, monkeypatch):
    kept.assert_construction_initialises_every_parameter(maker, monkeypatch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Seq2Seq(source_vocab_size=4), "source_vocab_size is 4, not more than the four special tokens. Set at"),
        (lambda: RNNsearch(target_vocab_size=0), "target_vocab_size is 0, not more than the four special tokens. Set"),
        (lambda: Seq2Seq(**VOCABULARIES, num_layers=0), "num_layers is 0, nothing. Set at least 1"),
        (lambda: Seq2Seq(**VOCABULARIES, first_weights=-1.0), "first_weights is -1.0, half the width of an interval."),
        (lambda: RNNsearch(**VOCABULARIES, alignment_size=0), "alignment_size is 0, nothing. Set at least 1"),
        (lambda: RNNEncoderDecoder(**VOCABULARIES, output_rank=0), "output_rank is 0, nothing. Set at least 1"),
        (lambda: LargeVocabulary(**VOCABULARIES, sampled=0), "sampled is 0, no word. Set at least 1"),
        (lambda: RNNsearch(**VOCABULARIES, dropout=1.0), "dropout is 1.0, the probability of dropping a unit. Set 0"),
    ],
)
def test_impossible_settings_are_refused_with_value_and_remedy(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        make()
    assert str(caught.value).startswith(message)
