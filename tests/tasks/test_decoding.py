"""Decoding against exhaustive search, one by one, and by several networks."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from dltk.layers import tokens
from dltk.layers.tokens import BOS, EOS, PAD
from dltk.models.rnnencdec import RNNEncoderDecoder
from dltk.models.rnnsearch import RNNsearch
from dltk.models.seq2seq import Seq2Seq
from dltk.tasks.decoding import Decoding, Hypothesis, beam, greedy, log_probabilities, score, translate

SMALL = {"source_vocab_size": 9, "embedding_size": 5, "hidden_size": 6}
NETWORKS = {
    "seq2seq": lambda words: Seq2Seq(**SMALL, target_vocab_size=words, num_layers=2, first_weights=1.5),
    "rnnencdec": lambda words: RNNEncoderDecoder(
        **SMALL, target_vocab_size=words, maxout_size=8, output_rank=4, first_weights="fan_in"
    ),
    "rnnsearch": lambda words: RNNsearch(
        **SMALL, target_vocab_size=words, alignment_size=5, maxout_size=8, first_weights="fan_in"
    ),
}
SOURCE = torch.tensor([[4, 5, 6, 7, 3], [8, 4, 3, 0, 0], [6, 3, 0, 0, 0]])  # (3, 5)


@pytest.fixture(params=NETWORKS)
def make(request):
    def made(words: int = 7, seed: int = 0):
        torch.manual_seed(seed)
        net = NETWORKS[request.param](words).double().eval()
        with torch.no_grad():
            net.output.weight.mul_(4)  # so that some words are likelier than others
        return net

    return made


def log_likelihood(networks, source, sentence) -> float:
    """Of a target with its end, by one pass; of several networks by the mean of their probabilities at each step."""
    words = tokens.shifted(torch.tensor([sentence]))
    logs = torch.stack([F.log_softmax(net(source[None], words)[0], 1) for net in networks])  # (networks, t, v)
    mean = torch.logsumexp(logs, 0) - math.log(len(networks))
    return float(mean[range(len(sentence)), sentence].sum().detach())


def exhaustive(networks, source, words, longest):
    """The likeliest sentences of at most so many tokens, the end counted, with their log-likelihoods."""
    inner = [token for token in range(words) if token not in (PAD, BOS, EOS)]
    sentences = [
        [*middle, EOS] for length in range(longest) for middle in itertools.product(inner, repeat=length)
    ]  # fmt: skip
    found = [(sentence[:-1], log_likelihood(networks, source, sentence)) for sentence in sentences]
    return sorted(found, key=lambda one: -one[1])


def test_a_wide_beam_is_an_exhaustive_search(make):
    net, words, longest = make(6), 6, 4
    wide = Decoding(width=words**longest, n_best=20, times=0.0, plus=longest)
    for source, found in zip(SOURCE, beam([net], SOURCE, wide), strict=True):
        expected = exhaustive([net], source[: int(tokens.lengths(source[None]))], words, longest)[:20]
        ended = [one for one in found if one.finished]
        assert [one.tokens for one in ended] == [sentence for sentence, _ in expected[: len(ended)]]
        assert [one.score for one in ended] == pytest.approx([score for _, score in expected[: len(ended)]], abs=1e-5)
        assert len(ended) >= 10


def test_the_best_of_a_wide_beam_does_not_depend_on_how_many_are_asked_for(make):
    wide = Decoding(width=64, n_best=64)
    best = [ranked[0] for ranked in beam([make()], SOURCE, wide)]
    alone = [ranked[0] for ranked in beam([make()], SOURCE, Decoding(width=64))]
    assert [one.tokens for one in alone] == [one.tokens for one in best]


def test_a_beam_of_one_is_greedy(make):
    for seed in range(5):
        net = make(9, seed)
        one = greedy([net], SOURCE, Decoding())
        found = [ranked[0] for ranked in beam([net], SOURCE, Decoding())]
        assert [each.tokens for each in found] == [each.tokens for each in one]
        assert [each.score for each in found] == pytest.approx([each.score for each in one], abs=1e-5)
        assert [each.finished for each in found] == [each.finished for each in one]


@pytest.mark.parametrize("how", [Decoding(), Decoding(width=4, n_best=4), Decoding(width=3, normalise=1.0)], ids=str)
def test_together_is_one_by_one(make, how):
    net = make(9, 1)
    together = translate([net], SOURCE, how)
    for source, ranked in zip(SOURCE, together, strict=True):
        (alone,) = translate([net], source[None, : int(tokens.lengths(source[None]))], how)
        assert [one.tokens for one in ranked] == [one.tokens for one in alone]
        assert [one.score for one in ranked] == pytest.approx([one.score for one in alone], abs=1e-5)


def test_scores_are_log_likelihoods(make):
    net = make(9, 2)
    for source, ranked in zip(SOURCE, translate([net], SOURCE, Decoding(width=5, n_best=5)), strict=True):
        real = source[: int(tokens.lengths(source[None]))]
        for one in ranked:
            sentence = [*one.tokens, EOS] if one.finished else one.tokens
            assert one.score == pytest.approx(log_likelihood([net], real, sentence), abs=1e-4)


def test_an_ensemble_averages_probabilities(make):
    networks = [make(6, 1), make(6, 2)]
    wide = Decoding(width=6**3, n_best=10, times=0.0, plus=3)
    source = SOURCE[1, :3]
    (found,) = beam(networks, source[None], wide)
    expected = exhaustive(networks, source, 6, 3)
    ended = [one for one in found if one.finished]
    assert [one.tokens for one in ended] == [sentence for sentence, _ in expected[: len(ended)]]
    states = [net.start(source[None]) for net in networks]
    logs, _ = log_probabilities(networks, torch.tensor([BOS]), states)
    each = [
        F.softmax(net.output(net.step(torch.tensor([BOS]), state)[0]), 1)
        for net, state in zip(networks, states, strict=True)
    ]
    torch.testing.assert_close(logs.exp()[:, 3:].double(), (sum(each) / 2)[:, 3:], rtol=0, atol=1e-6)
    assert not logs.exp()[:, [PAD, BOS]].any()


def test_a_copy_changes_an_ensemble_by_nothing(make):
    net, how = make(9, 3), Decoding(width=3, n_best=3)
    one, both = translate([net], SOURCE, how), translate([net, net], SOURCE, how)
    assert [[h.tokens for h in ranked] for ranked in one] == [[h.tokens for h in ranked] for ranked in both]


def test_lengths_are_bounded_by_the_own_source(make):
    net = make()
    with torch.no_grad():
        net.output.bias[EOS] = -1e4  # never ends by itself
    for how in (Decoding(times=2, plus=1), Decoding(width=2, times=2, plus=1)):
        found = [ranked[0] for ranked in translate([net], SOURCE, how)]
        assert [len(one.tokens) for one in found] == [11, 7, 5]
        assert not any(one.finished for one in found)


def searching(seed: int = 0):
    torch.manual_seed(seed)
    return NETWORKS["rnnsearch"](9).double().eval()


def looked_at(net, source, sentence):
    """The weights of a source's tokens for each token of a given sentence (t, s), the sentence read word by word."""
    state, rows = net.start(source[None]), []
    for word in tokens.shifted(torch.tensor([sentence]))[0]:
        _, rows_of_one = net.attend(*state)
        rows.append(rows_of_one[0])
        _, state = net.step(word[None], state)
    return torch.stack(rows).float()


@pytest.mark.parametrize("how", [Decoding(align=True), Decoding(width=5, n_best=5, align=True)], ids=["greedy", "beam"])
@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_alignments_are_those_of_the_hypothesis_read_again(how, seed):
    net = searching(seed)
    for source, ranked in zip(SOURCE, translate([net], SOURCE, how), strict=True):
        real = source[: int(tokens.lengths(source[None]))]
        for one in ranked:
            sentence = [*one.tokens, EOS] if one.finished else one.tokens
            assert one.alignment.shape == (len(sentence), len(real))
            torch.testing.assert_close(one.alignment, looked_at(net, real, sentence), rtol=0, atol=1e-6)
            torch.testing.assert_close(one.alignment.sum(1), torch.ones(len(sentence)))


@torch.no_grad()
def test_alignments_of_several_are_their_mean_and_change_no_translation():
    networks, how = [searching(1), searching(2)], Decoding(width=3, align=True)
    found = translate(networks, SOURCE, how)
    plain = translate(networks, SOURCE, Decoding(width=3))
    for source, (one,), (other,) in zip(SOURCE, found, plain, strict=True):
        assert (one.tokens, one.score, other.alignment) == (other.tokens, other.score, None)
        real = source[: int(tokens.lengths(source[None]))]
        sentence = [*one.tokens, EOS] if one.finished else one.tokens
        mean = sum(looked_at(net, real, sentence) for net in networks) / 2
        torch.testing.assert_close(one.alignment, mean, rtol=0, atol=1e-6)


def padded(rows):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


GIVEN = [[4, 7, 5, EOS], [6, EOS], [EOS]]


def test_given_translations_are_scored_by_the_sum_of_log_likelihoods(make):
    networks = [make(9, 1), make(9, 2)]
    for chosen in (networks[:1], networks):
        expected = [
            log_likelihood(chosen, source[: int(tokens.lengths(source[None]))], sentence)
            for source, sentence in zip(SOURCE, GIVEN, strict=True)
        ]
        found = score(chosen, SOURCE, padded(GIVEN), Decoding())
        assert found == pytest.approx(expected, abs=1e-5)
        means = [one / len(sentence) for one, sentence in zip(expected, GIVEN, strict=True)]
        assert score(chosen, SOURCE, padded(GIVEN), Decoding(normalise=1.0)) == pytest.approx(means, abs=1e-5)


@pytest.mark.parametrize("normalise", [0.0, 0.6])
def test_what_a_beam_finds_scores_as_it_says(make, normalise):
    net, how = make(9, 2), Decoding(width=5, n_best=5, normalise=normalise)
    compared = 0
    for source, ranked in zip(SOURCE, translate([net], SOURCE, how), strict=True):
        ended = [one for one in ranked if one.finished]
        compared += len(ended)
        found = score([net], source.expand(len(ended), -1), padded([[*one.tokens, EOS] for one in ended]), how)
        assert found == pytest.approx([one.score for one in ended], abs=1e-4)
    assert compared >= 3


def test_what_is_no_word_is_impossible(make):
    assert score([make(9)], SOURCE[:1], torch.tensor([[4, BOS, EOS]]), Decoding()) == [-math.inf]


class Fixed:
    """The same probabilities whatever was said: the end 0.4, token 4 0.6."""

    def start(self, source):
        return (source[:, :1].double(),)

    def step(self, words, state):
        return state[0], state

    def output(self, readout):
        probabilities = torch.tensor([0.0, 0.0, 0.0, 0.4, 0.6], dtype=torch.float64)
        return probabilities.log().clamp(min=-1e6).expand(len(readout), 5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_samples_are_as_frequent_as_their_probabilities(temperature):
    source = torch.tensor([[4, 3], [5, 3]])
    how = Decoding(temperature=temperature, seed=7, n_best=4000, times=0.0, plus=3)
    end, word = (p ** (1 / temperature) for p in (0.4, 0.6))
    end, word = end / (end + word), word / (end + word)
    likely = {(): end, (4,): word * end, (4, 4): word**2 * end, (4, 4, 4): word**3}
    both = translate([Fixed()], source, how)
    for found in both:
        for tokens_, probability in likely.items():
            share = sum(tuple(one.tokens) == tokens_ for one in found) / len(found)
            assert share == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / 4000))
            score = len(tokens_) * math.log(0.6) + (len(tokens_) < 3) * math.log(0.4)  # as without the temperature
            assert next(one for one in found if tuple(one.tokens) == tokens_).score == pytest.approx(score, abs=1e-5)
    assert [one.tokens for one in both[0]] != [one.tokens for one in both[1]]


def test_samples_depend_on_seed_and_sentence_alone(make):
    net = make(9)
    how = Decoding(temperature=1.0, seed=3, n_best=4)
    together = [[one.tokens for one in found] for found in translate([net], SOURCE, how)]
    turned = translate([net], F.pad(SOURCE, (0, 3)).flip(0), how)[::-1]
    assert [[one.tokens for one in found] for found in turned] == together
    for source, found in zip(SOURCE, together, strict=True):
        alone = translate([net], source[None, : int(tokens.lengths(source[None]))], Decoding(temperature=1.0, seed=3))
        assert [one.tokens for one in alone[0]] == found[:1]
    other = translate([net], SOURCE, Decoding(temperature=1.0, seed=4, n_best=4))
    assert [[one.tokens for one in found] for found in other] != together
    assert len({tuple(one) for found in together for one in found}) > 6


def test_scores_of_samples_are_log_likelihoods_and_cold_ones_are_greedy(make):
    net = make(9, 2)
    for source, found in zip(SOURCE, translate([net], SOURCE, Decoding(temperature=1.5, n_best=3)), strict=True):
        real = source[: int(tokens.lengths(source[None]))]
        for one in found:
            sentence = [*one.tokens, EOS] if one.finished else one.tokens
            assert one.score == pytest.approx(log_likelihood([net], real, sentence), abs=1e-4)
            assert not {PAD, BOS} & set(one.tokens)
    cold = translate([net], SOURCE, Decoding(temperature=0.0001))
    assert [one.tokens for (one,) in cold] == [one.tokens for one in greedy([net], SOURCE, Decoding())]


def test_normalised_scores_prefer_what_is_longer():
    source = torch.tensor([[4, 3]])
    how = {"width": 4, "times": 0.0, "plus": 5, "n_best": 4}
    (plain,) = translate([Fixed()], source, Decoding(**how))
    (long,) = translate([Fixed()], source, Decoding(**how, normalise=1.0))
    assert plain[0] == Hypothesis([], pytest.approx(math.log(0.4), abs=1e-6), True)
    mean = (2 * math.log(0.6) + math.log(0.4)) / 3
    assert next(one for one in long if one.tokens == [4, 4]).score == pytest.approx(mean, abs=1e-6)
    finished = [one for one in long if one.finished]
    assert [len(one.tokens) for one in finished] == sorted((len(one.tokens) for one in finished), reverse=True)
