"""The RNN encoder-decoder against its paper's equations, and against other readings of them."""

import pytest
import torch

from dltk.layers import tokens
from dltk.models.rnnencdec import RNNEncoderDecoder

SMALL = {
    **{"source_vocab_size": 11, "target_vocab_size": 9, "embedding_size": 5, "hidden_size": 6},
    **{"maxout_size": 4, "output_rank": 3, "first_weights": "fan_in"},
}
PARTS = {
    "source_embedding": 1_500_000,
    "target_embedding": 1_500_000,
    "encoder": 3_303_000,
    "summary": 1_001_000,
    "first_state": 1_001_000,
    "inputs": 303_000,
    "recurrent": 3_000_000,
    "context": 3_000_000,
    "maxout": 2_101_000,
    "low_rank": 50_000,
    "output": 1_515_000,
}


def small(seed: int = 0, **settings) -> RNNEncoderDecoder:
    torch.manual_seed(seed)
    net = RNNEncoderDecoder(**SMALL | settings).double().eval()
    with torch.no_grad():  # biases too, so that one that is left out shows
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_each_part_has_as_many_parameters_as_the_paper_s():
    with torch.device("meta"):
        net, whole = RNNEncoderDecoder(), RNNEncoderDecoder(output_rank=None)
    counted = {name: count(part) for name, part in net.named_children()}
    assert {name: number for name, number in counted.items() if number} == PARTS
    assert count(net) == sum(PARTS.values()) == 18_274_000
    assert count(whole.output) == 7_515_000
    assert count(whole) == 24_224_000


def reference(net, source, words, reading=""):
    """Appendix A, one vector after another; z as the paper has it, so W_z, U_z and C_z with the other sign."""
    n = 6
    w, b, u = net.encoder.inputs.weight, net.encoder.inputs.bias, net.encoder.gates.weight
    h = torch.zeros(n, dtype=torch.float64)
    for token in source:
        a = w @ net.source_embedding.weight[token] + b
        z, r = torch.sigmoid(-(a[:n] + u[:n] @ h)), torch.sigmoid(a[n : 2 * n] + u[n:] @ h)
        h = z * h + (1 - z) * torch.tanh(a[2 * n :] + net.encoder.candidate.weight @ (r * h))
    c = h if reading == "c is h" else torch.tanh(net.summary.weight @ h + net.summary.bias)
    h = torch.tanh(net.first_state.weight @ c + net.first_state.bias)
    w, b, u, of_c = net.inputs.weight, net.inputs.bias, net.recurrent.weight, net.context.weight
    scores = []
    for place, word in enumerate(words):
        y = net.target_embedding.weight[word]
        if place == 0 and reading != "a begin is embedded":
            y = torch.zeros_like(y)
        before = h
        a = w @ y + b
        z = torch.sigmoid(-(a[:n] + u[:n] @ h + of_c[:n] @ c))
        r = torch.sigmoid(a[n : 2 * n] + u[n : 2 * n] @ h + of_c[n : 2 * n] @ c)
        inner = r * (u[2 * n :] @ h + of_c[2 * n :] @ c)
        if reading == "c beside the gate":
            inner = r * (u[2 * n :] @ h) + of_c[2 * n :] @ c
        if reading == "the gate inside the product":
            inner = u[2 * n :] @ (r * h) + of_c[2 * n :] @ c
        h = z * h + (1 - z) * torch.tanh(a[2 * n :] + inner)
        pairs = net.maxout.weight @ torch.cat([before if reading == "the state before" else h, y, c]) + net.maxout.bias
        s = torch.stack([pairs[2 * j : 2 * j + 2].max() for j in range(4)])
        scores.append(net.output.weight @ (net.low_rank.weight @ s) + net.output.bias)
    return torch.stack(scores)


SOURCE, WORDS = [4, 10, 6, 3], [tokens.BOS, 5, 8]


def test_it_is_its_equations():
    net = small()
    found = net(torch.tensor([SOURCE]), torch.tensor([WORDS]))[0]
    torch.testing.assert_close(found, reference(net, SOURCE, WORDS), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "reading",
    ["c is h", "a begin is embedded", "c beside the gate", "the gate inside the product", "the state before"],
)
def test_another_reading_gives_something_else(reading):
    net = small()
    found = net(torch.tensor([SOURCE]), torch.tensor([WORDS]))[0]
    assert float((found - reference(net, SOURCE, WORDS, reading)).detach().abs().max()) > 1e-3


def test_without_a_low_rank_the_maxout_units_are_read_themselves():
    net, whole = small(), small(output_rank=None)
    state = net.state_dict()
    state["output.weight"] = state["output.weight"] @ state.pop("low_rank.weight")
    whole.load_state_dict(state)
    ask = torch.tensor([SOURCE]), torch.tensor([WORDS])
    torch.testing.assert_close(whole(*ask), net(*ask), rtol=0, atol=1e-12)


def test_gates_that_are_shut_keep_the_state_and_open_ones_give_a_plain_network():
    net = small()
    with torch.no_grad():
        net.inputs.bias[:6] = -1e4  # z of the paper is one
    h, *rest = net.start(torch.tensor([SOURCE]))
    _, (kept, *_) = net.step(torch.tensor([5]), (h, *rest))
    assert torch.equal(kept, h)
    with torch.no_grad():
        net.inputs.bias[:12] = 1e4  # z of the paper is zero, r is one
    _, (new, *_) = net.step(torch.tensor([5]), (h, *rest))
    y, c = net.target_embedding.weight[5], rest[0][0]
    plain = net.inputs.weight[12:] @ y + net.inputs.bias[12:]
    plain = torch.tanh(plain + net.recurrent.weight[12:] @ h[0] + net.context.weight[12:] @ c)
    torch.testing.assert_close(new[0], plain, rtol=0, atol=1e-12)


def test_the_summary_is_all_that_the_decoder_knows_of_a_sentence():
    net = small()
    states = net.start(torch.tensor([SOURCE, [7, 3, 0, 0]]))
    h, c, of_c = states
    torch.testing.assert_close(h, torch.tanh(net.first_state(c)), rtol=0, atol=0)
    torch.testing.assert_close(of_c, net.context(c), rtol=0, atol=0)
    assert not torch.allclose(c[0], c[1])


def test_first_weights_are_the_paper_s():
    torch.manual_seed(0)
    net = RNNEncoderDecoder(source_vocab_size=50, target_vocab_size=50, embedding_size=64, hidden_size=64)
    recurrent = [*net.recurrent.weight.detach().split(64), *net.encoder.gates.weight.detach().split(64)]
    for matrix in (*recurrent, net.encoder.candidate.weight.detach()):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(64), rtol=0, atol=1e-5)
    for name in ("target_embedding", "inputs", "context", "summary", "first_state", "maxout", "low_rank", "output"):
        assert 0.009 < float(getattr(net, name).weight.detach().std()) < 0.011, name
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))


def test_first_embeddings_have_the_deviation_that_is_asked_for_and_change_nothing_else():
    sizes = {"source_vocab_size": 400, "target_vocab_size": 300, "embedding_size": 64, "hidden_size": 8}
    found = []
    for std in (None, 1.0):
        torch.manual_seed(0)
        net = RNNEncoderDecoder(**sizes, maxout_size=5, first_weights="fan_in", first_embeddings=std)
        found.append(dict(net.named_parameters()))
    plain, wide = found
    changed = {name for name in plain if not torch.equal(plain[name], wide[name])}
    assert changed == {"source_embedding.weight", "target_embedding.weight"}
    for name in changed:
        assert wide[name][4:].std().item() == pytest.approx(1.0, abs=0.05)
        assert plain[name][4:].std().item() == pytest.approx(64**-0.5, abs=0.01)
    with pytest.raises(ValueError, match="first_embeddings"):
        RNNEncoderDecoder(**sizes, first_embeddings=-1.0)
