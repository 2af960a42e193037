"""Candidate lists against a network whose other words are impossible, sentence by sentence."""

import copy

import pytest
import torch

from dltk.layers import tokens
from dltk.models.large_vocab import LargeVocabulary
from dltk.models.rnnencdec import RNNEncoderDecoder
from dltk.models.seq2seq import Seq2Seq
from dltk.tasks.candidates import Candidates, lists, translate_among
from dltk.tasks.decoding import Decoding, translate

SIZES = {"source_vocab_size": 9, "target_vocab_size": 30, "embedding_size": 5, "hidden_size": 6}
NETWORKS = {
    "seq2seq": lambda: Seq2Seq(**SIZES, num_layers=2, first_weights=1.5),
    "rnnencdec": lambda: RNNEncoderDecoder(**SIZES, maxout_size=8, output_rank=4, first_weights="fan_in"),
    "large_vocab": lambda: LargeVocabulary(
        **SIZES, sampled=10, alignment_size=5, maxout_size=8, first_weights="fan_in"
    ),
}
SOURCE = torch.tensor([[4, 5, 6, 7, 3], [8, 4, 3, 0, 0], [6, 3, 0, 0, 0]])
LISTS = Candidates(7, {4: [20, 2], 5: [9], 8: [28, 11, 500], 0: [25]})
OWN = [{9, 20}, {11, 20, 28}, set()]


def network(name: str, seed: int = 0):
    torch.manual_seed(seed)
    net = NETWORKS[name]().double().eval()
    with torch.no_grad():
        net.output.weight.mul_(4)  # so that some words are likelier than others
        net.output.bias[tokens.EOS] += 1
    return net


def test_a_list_holds_frequent_words_and_translations_of_the_sentence_s_own():
    found = lists(LISTS, SOURCE, 30)
    assert found.words.tolist() == [*range(7), 9, 11, 20, 28]
    for row, own in zip(found.allowed, OWN, strict=True):
        assert set(found.words[row].tolist()) == set(range(7)) | own
    assert lists(Candidates(0, {}), SOURCE, 30).words.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("how", [Decoding(), Decoding(width=4, n_best=4), Decoding(width=3, normalise=1.0)], ids=str)
def test_words_off_the_list_are_impossible_and_probabilities_are_shares_of_the_others(name, how):
    nets = [network(name), network(name, 1)]
    for chosen in (nets[:1], nets):
        found = translate_among(chosen, SOURCE, how, LISTS)
        for source, own, ranked in zip(SOURCE, OWN, found, strict=True):
            narrow = copy.deepcopy(chosen)
            off = [word for word in range(7, 30) if word not in own]
            for net in narrow:
                net.output.bias.data[off] = -1e9
            real = source[None, : int(tokens.lengths(source[None]))]
            (expected,) = translate(narrow, real, how)
            assert [one.tokens for one in ranked] == [one.tokens for one in expected]
            assert [one.score for one in ranked] == pytest.approx([one.score for one in expected], abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_all_words_on_the_list_nothing_changes(name):
    net, how = network(name, 2), Decoding(width=4, n_best=3)
    found, expected = translate_among([net], SOURCE, how, Candidates(30, {})), translate([net], SOURCE, how)
    assert [[one.tokens for one in ranked] for ranked in found] == [
        [one.tokens for one in ranked] for ranked in expected
    ]
    assert any(word >= 7 for ranked in found for one in ranked for word in one.tokens)
