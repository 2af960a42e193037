"""The network of 2014 against its paper's counts, and against its equations written out."""

import pytest
import torch
from torch import nn

from dltk.layers import tokens
from dltk.models.seq2seq import Seq2Seq

SMALL = {"source_vocab_size": 11, "target_vocab_size": 9, "embedding_size": 5, "hidden_size": 7, "first_weights": 0.5}


def trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_counts_are_the_paper_s():
    with torch.device("meta"):
        net = Seq2Seq()
    weights = {name: p.numel() for name, p in net.named_parameters() if p.requires_grad and "bias" not in name}
    assert sum(weights.values()) == 384_000_000
    recurrent = sum(number for name, number in weights.items() if name.startswith(("encoder", "decoder")))
    assert recurrent == 64_000_000
    assert trained(net) == 384_000_000 + 2 * 4 * 4_000 + 80_000  # biases of eight layers, and of the words


def lstm(net: nn.LSTM, x, h, c):
    """One layer after another, one step after another (Graves 2013, without peepholes): outputs, last h and c."""
    for layer in range(net.num_layers):
        w, u, b = (getattr(net, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih"))
        ys = []
        for step in x:
            i, f, g, o = (w @ step + u @ h[layer] + b).chunk(4)
            c[layer] = torch.sigmoid(f) * c[layer] + torch.sigmoid(i) * torch.tanh(g)
            h[layer] = torch.sigmoid(o) * torch.tanh(c[layer])
            ys.append(h[layer])
        x = ys
    return x, h, c


def test_it_is_its_equations():
    torch.manual_seed(1)
    net = Seq2Seq(**SMALL, num_layers=3).double()
    source, target = [4, 10, 6, 3], [5, 8, 3]
    zeros = [torch.zeros(7, dtype=torch.float64) for _ in range(3)]
    read = [net.source_embedding.weight[token] for token in reversed(source)]
    _, h, c = lstm(net.encoder, read, list(zeros), list(zeros))
    words = [net.target_embedding.weight[token] for token in [tokens.BOS, *target[:-1]]]
    ys, _, _ = lstm(net.decoder, words, h, c)
    expected = torch.stack([net.output.weight @ y + net.output.bias for y in ys])
    found = net(torch.tensor([source]), tokens.shifted(torch.tensor([target])))[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_only_the_source_is_read_backwards_and_its_padding_stays_behind():
    torch.manual_seed(2)
    backwards, forwards = Seq2Seq(**SMALL), Seq2Seq(**SMALL, reverse_source=False)
    forwards.load_state_dict(backwards.state_dict())
    source = torch.tensor([[4, 5, 6, 3], [7, 3, 0, 0]])
    words = torch.tensor([[2, 5, 6], [2, 7, 8]])
    assert tokens.backwards(source).tolist() == [[3, 6, 5, 4], [3, 7, 0, 0]]
    torch.testing.assert_close(backwards(source, words), forwards(tokens.backwards(source), words))
    assert not torch.allclose(backwards(source, words), forwards(source, words))


def test_first_embeddings_have_an_interval_of_their_own():
    net = Seq2Seq(**SMALL, first_embeddings=2.0)
    for name, parameter in net.named_parameters():
        largest = float(parameter.detach().abs().max())
        assert 1.5 < largest <= 2 if "embedding" in name else largest <= 0.5, name
    with pytest.raises(ValueError, match=r"first_embeddings is -1\.0, half the width of an interval"):
        Seq2Seq(**SMALL, first_embeddings=-1.0)


def test_first_weights_fill_the_interval_of_the_paper():
    net = Seq2Seq(**{**SMALL, "first_weights": 0.08}, num_layers=2)
    drawn = torch.cat([p.detach().flatten() for p in net.parameters() if p.requires_grad])
    assert drawn.abs().max() <= 0.08
    assert abs(float(drawn.std()) - 0.08 / 3**0.5) < 0.003
    assert all(not p.any() for name, p in net.named_parameters() if "bias_hh" in name)


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_stages_one_behind_the_other_are_the_network(stages: int):
    torch.manual_seed(0)
    net = Seq2Seq(**SMALL, num_layers=4)
    parts = [net.pipeline_stage(number, stages) for number in range(stages)]
    for number, part in enumerate(parts):
        mine = {id(parameter) for parameter in part.parameters()}
        said = {id(p) for name, p in net.named_parameters() if net.stage_of(name, stages) == number}
        assert mine == said - {id(parameter) for parameter in net.output.parameters()}
    assert {net.stage_of(name, stages) for name in ("output.weight", "output.bias")} == {stages - 1}
    source, words = torch.randint(4, 9, (3, 6)), torch.randint(4, 9, (3, 5))
    source[1, 4:], source[2, 1:] = tokens.PAD, tokens.PAD
    passed = (source, words)
    for part in parts:
        passed = part(*passed, tokens.lengths(source))
    torch.testing.assert_close(passed, net.readout(source, words))
    weight = torch.randn_like(passed)
    ours, theirs = (
        torch.autograd.grad((out * weight).sum(), [p for p in net.parameters() if p.requires_grad], allow_unused=True)
        for out in (passed, net.readout(source, words))
    )
    for one, other in zip(ours[:-2], theirs[:-2], strict=True):  # but for the output's
        torch.testing.assert_close(one, other)


def test_between_stages_outputs_are_dropped_as_between_layers():
    net = Seq2Seq(**SMALL, num_layers=3, dropout=0.5)
    source, words = torch.randint(4, 9, (50, 6)), torch.randint(4, 9, (50, 5))
    read, written = net.pipeline_stage(0, 2).train()(source, words, tokens.lengths(source))
    for passed in (read, written):
        assert 0.4 < (passed == 0).float().mean() < 0.6
    last = net.pipeline_stage(1, 2).train()
    assert (last(read, written, tokens.lengths(source)) != 0).all()
    assert (net.pipeline_stage(0, 2).eval()(source, words, tokens.lengths(source))[0] != 0).all()
