"""RNNsearch against its paper's equations, and what they imply."""

import torch

from dltk.layers import tokens
from dltk.models.rnnsearch import RNNsearch

SMALL = {
    **{"source_vocab_size": 11, "target_vocab_size": 9, "embedding_size": 5, "hidden_size": 6},
    **{"alignment_size": 7, "maxout_size": 4, "first_weights": "fan_in"},
}
PARTS = {
    "source_embedding": 18_600_000,
    "target_embedding": 18_600_000,
    "forwards": 4_863_000,
    "backwards": 4_863_000,
    "first_state": 1_001_000,
    "decoder": 3 * (620_000 + 1_000_000 + 1_000),
    "context": 3 * 2_000_000,
    "query": 1_000_000,
    "keys": 2_000_000,
    "energy": 1_000,
    "maxout": 3_621_000,
    "output": 15_030_000,
}


def small(seed: int = 0) -> RNNsearch:
    torch.manual_seed(seed)
    net = RNNsearch(**SMALL).double().eval()
    with torch.no_grad():  # biases too, so that one that is left out shows
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def test_each_part_has_as_many_parameters_as_the_paper_s():
    with torch.device("meta"):
        net = RNNsearch()
    counted = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert {name: number for name, number in counted.items() if number} == PARTS
    assert sum(PARTS.values()) == 80_442_000


def unit(gated, x, h, more=0.0):
    """Appendix A.1.1, gate by gate."""
    n = len(h)
    w, b, u = gated.inputs.weight, gated.inputs.bias, gated.gates.weight
    a = w @ x + b + more
    z, r = torch.sigmoid(a[:n] + u[:n] @ h), torch.sigmoid(a[n : 2 * n] + u[n:] @ h)
    s = torch.tanh(a[2 * n :] + gated.candidate.weight @ (r * h))
    return (1 - z) * h + z * s


def test_it_is_its_equations():
    net = small()
    source, target = [4, 10, 6, 3], [5, 8, 3]
    x = [net.source_embedding.weight[token] for token in source]
    zero = torch.zeros(6, dtype=torch.float64)
    ahead, back = [zero], [zero]
    for one in x:
        ahead.append(unit(net.forwards, one, ahead[-1]))
    for one in reversed(x):
        back.append(unit(net.backwards, one, back[-1]))
    h = [torch.cat([one, other]) for one, other in zip(ahead[1:], back[:0:-1], strict=True)]
    s = torch.tanh(net.first_state.weight @ back[-1] + net.first_state.bias)
    expected = []
    for word in [tokens.BOS, *target[:-1]]:
        y = net.target_embedding.weight[word]
        e = torch.stack([net.energy.weight[0] @ torch.tanh(net.query.weight @ s + net.keys.weight @ one) for one in h])
        c = sum(alpha * one for alpha, one in zip(torch.softmax(e, 0), h, strict=True))
        pairs = net.maxout.weight @ torch.cat([s, y, c]) + net.maxout.bias
        t = torch.stack([pairs[2 * j : 2 * j + 2].max() for j in range(4)])
        expected.append(net.output.weight @ t + net.output.bias)
        s = unit(net.decoder, y, s, net.context.weight @ c)
    found = net(torch.tensor([source]), tokens.shifted(torch.tensor([target])))[0]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)


SOURCE = torch.tensor([[4, 5, 6, 7, 3], [8, 9, 3, 0, 0], [0, 0, 0, 0, 0]])  # the last one was damaged
WORDS = torch.tensor([[2, 5, 6, 3], [2, 4, 7, 8], [2, 2, 2, 2]])


def test_the_gradient_of_all_steps_at_once_is_that_of_one_step_after_the_other():
    net = small()
    weights = torch.randn(3, 4, 4, dtype=torch.float64)
    state, readouts = net.start(SOURCE), []
    for step in range(4):
        readout, state = net.step(WORDS[:, step], state)
        readouts.append(readout)
    parameters = [parameter for name, parameter in net.named_parameters() if not name.startswith("output")]
    one_by_one = torch.autograd.grad((weights * torch.stack(readouts, 1)).sum(), parameters)
    at_once = torch.autograd.grad((weights * net.readout(SOURCE, WORDS)).sum(), parameters)
    torch.testing.assert_close(at_once, one_by_one, rtol=0, atol=1e-12)
    assert all(gradient.any() for gradient in at_once)


def test_its_gradient_in_16_bits_is_no_rougher_than_step_by_step():
    torch.manual_seed(0)
    wide = {"embedding_size": 32, "hidden_size": 48, "alignment_size": 40, "maxout_size": 24}
    net = RNNsearch(**{**SMALL, **wide})
    parameters = [parameter for name, parameter in net.named_parameters() if not name.startswith("output")]
    weights = torch.randn(2, 4, 24)

    def gradient(at_once, half):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            state, readouts = net.start(SOURCE[:2]), []
            for step in range(0 if at_once else 4):
                readout, state = net.step(WORDS[:2, step], state)
                readouts.append(readout)
            found = net.readout(SOURCE[:2], WORDS[:2]) if at_once else torch.stack(readouts, 1)
        each = torch.autograd.grad((weights * found.float()).sum(), parameters)
        assert all(one.dtype == torch.float32 for one in each)
        return torch.cat([one.flatten() for one in each])

    exact = gradient(at_once=True, half=False)
    off = {at_once: float((gradient(at_once, half=True) - exact).norm() / exact.norm()) for at_once in (True, False)}
    assert 0 < off[True] < min(0.05, 1.2 * off[False])


def test_the_weights_of_a_context_sum_to_one_over_what_is_real():
    net = small()
    source = torch.tensor([[4, 5, 6, 3], [7, 3, 0, 0]])
    s, *memory = net.start(source)
    c, weights = net.attend(s, *memory)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, dtype=torch.float64))
    assert not weights[1, 2:].any()
    order = torch.tensor([2, 0, 3, 1])
    annotations, keys, real = memory
    permuted_c, permuted = net.attend(s[:1], annotations[:1, order], keys[:1, order], real[:1, order])
    torch.testing.assert_close(permuted_c, c[:1])
    torch.testing.assert_close(permuted[0], weights[0, order])


def test_the_alignment_is_what_the_decoder_looks_at_before_each_word():
    net = small()
    source, words = torch.tensor([[4, 5, 6, 3], [7, 3, 0, 0]]), torch.tensor([[2, 5, 8], [2, 6, 3]])
    found = net.alignment(source, words)
    assert found.shape == (2, 3, 4)
    state = net.start(source)
    for step in range(3):
        torch.testing.assert_close(net.attend(*state)[1], found[:, step], rtol=0, atol=1e-12)
        _, state = net.step(words[:, step], state)
    assert not torch.allclose(found[:, 0], found[:, 1])


def test_first_weights_are_the_paper_s():
    torch.manual_seed(0)
    net = RNNsearch(source_vocab_size=50, target_vocab_size=50, embedding_size=64, hidden_size=64)
    u = net.decoder.gates.weight.detach()  # (128, 64): U_z above U_r
    for matrix in (*u.split(64), net.forwards.candidate.weight.detach()):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(64), rtol=0, atol=1e-5)
    assert not net.energy.weight.any()
    assert 0.0009 < float(net.keys.weight.detach().std()) < 0.0011
    assert 0.009 < float(net.maxout.weight.detach().std()) < 0.011
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))
