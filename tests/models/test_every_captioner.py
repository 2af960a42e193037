"""What every network that describes pictures keeps, and the equations of both papers."""

import pytest
import torch
import torch.nn.functional as F

from dltk import catalogue
from dltk.layers import tokens
from dltk.models.encoder import NETWORKS, Encoder
from dltk.models.googlenet import GoogLeNet
from dltk.models.seq2seq import Seq2Seq
from dltk.models.show_and_tell import ShowAndTell
from dltk.models.show_attend_tell import ShowAttendTell
from dltk.models.vgg import VGG19
from tests.models import kept

SMALL = {
    **{"vocab_size": 9, "encoder": "vgg11", "image": [3, 32, 32], "narrow": 32, "poolings": 2},
    **{"embedding_size": 6, "hidden_size": 7},
}
MAKERS = {
    "show_and_tell": lambda: ShowAndTell(**SMALL, first_weights=0.4),
    "show_and_tell_whole": lambda: ShowAndTell(**SMALL, image_vector="whole", dropout=0.5, first_weights=0.4),
    "show_attend_tell": lambda: ShowAttendTell(**SMALL, attention_size=5),
    "show_attend_tell_hard": lambda: ShowAttendTell(**SMALL, attention_size=5, attention="hard", dropout=0.0),
    "show_attend_tell_no_gate": lambda: ShowAttendTell(**SMALL, attention_size=5, gate=False),
}
TARGET = torch.tensor([[5, 6, 3, 0], [4, 7, 8, 3], [6, 3, 0, 0]])  # (3, 4)
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=MAKERS)
def maker(request):
    torch.manual_seed(0)
    return MAKERS[request.param]


def loss(model, images=IMAGES, target=TARGET):
    """The sum of the negative log-likelihoods of the captions' words and ends."""
    images = images.to(next(model.parameters()).dtype)
    scores = model(images, tokens.shifted(target))  # (b, t, v)
    return F.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=tokens.PAD, reduction="sum")


def test_every_network_of_the_catalogue_is_here():
    assert {row.name for row in catalogue.MODELS.values() if row.task == "captioning"} <= set(MAKERS)


def test_every_parameter_gets_a_gradient(maker):
    model = maker()
    loss(model).backward()
    kept.assert_every_weight_has_a_gradient(model)


def test_steps_lower_the_loss(maker):
    kept.assert_steps_lower(loss, maker(), lr=1e-3)


def test_padding_enters_neither_loss_nor_gradient(maker):
    model = maker().double().eval()
    names = [p for n, p in model.named_parameters() if p.requires_grad]
    found = [loss(model), loss(model, target=F.pad(TARGET, (0, 2)))]
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
    plain, padded = (torch.autograd.grad(one, names, allow_unused=True) for one in found)
    for ours, theirs in zip(plain, padded, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_a_picture_alone_gives_what_it_gives_among_others(maker):
    model = maker().double().eval()
    together = model(IMAGES.double(), tokens.shifted(TARGET))
    for at in range(3):
        alone = model(IMAGES[at : at + 1].double(), tokens.shifted(TARGET[at : at + 1]))
        torch.testing.assert_close(alone[0], together[at], rtol=0, atol=1e-12)


def test_step_by_step_gives_what_one_pass_gives(maker):
    model = maker().double().eval()
    words = tokens.shifted(TARGET)
    state, seen = model.start(IMAGES.double()), []
    for step in range(words.shape[1]):
        readout, state = model.step(words[:, step], state)
        seen.append(model.output(readout))
    torch.testing.assert_close(torch.stack(seen, 1), model(IMAGES.double(), words), rtol=0, atol=1e-12)


def test_state_round_trips(maker, tmp_path):
    kept.assert_state_round_trips(maker, loss, tmp_path / "state.pt", spread=0.3)


def test_first_weights_depend_on_seed_and_name_only(maker):
    kept.assert_first_weights_depend_on_seed_and_name_only(maker)


def test_runs_on_the_meta_device(maker):
    with torch.device("meta"):
        scores = maker().eval()(torch.zeros(2, 3, 32, 32), torch.zeros(2, 5, dtype=torch.int64))
    assert scores.is_meta
    assert scores.shape == (2, 5, 9)


def test_images_of_another_shape_are_refused(maker):
    with pytest.raises(ValueError, match=r"images are \(2, 3, 32, 33\).*Set model\.image"):
        maker()(torch.zeros(2, 3, 32, 33), torch.zeros(2, 5, dtype=torch.int64))


# Show and Tell


def test_published_counts_of_show_and_tell():
    with torch.device("meta"):
        model = ShowAndTell()
    assert sum(p.numel() for p in model.lstm.parameters() if p.requires_grad) == 2_099_200
    rest = {name: sum(p.numel() for p in getattr(model, name).parameters()) for name in ("word_embedding", "output")}
    assert sum(rest.values()) == 512 * 10_000 * 2 + 10_000
    assert model.image_vector.in_features == 1024


def test_the_picture_is_read_once_and_no_word_is_asked_for_then():
    model = ShowAndTell(**SMALL, first_weights=0.4).eval()
    words, reads = tokens.shifted(TARGET), []
    model.lstm.register_forward_hook(lambda _, given, made: reads.append(given[0].shape[1]))
    assert model(IMAGES, words).shape[1] == words.shape[1]
    assert reads == [1, words.shape[1]]
    state = model.start(IMAGES)
    readout = torch.stack([model.step(words[:, 0], state)[0]], 1)
    torch.testing.assert_close(model.output(readout)[:, 0], model(IMAGES, words)[:, 0])


def test_with_the_image_vector_zeroed_it_is_a_language_model():
    model = ShowAndTell(**SMALL, first_weights=0.4).double().eval()
    with torch.no_grad():
        model.image_vector.weight.zero_()
        model.image_vector.bias.zero_()
    scores = model(IMAGES.double(), tokens.shifted(TARGET))
    others = model(IMAGES.double().flip(3) * 0.3, tokens.shifted(TARGET))
    assert torch.equal(scores, others)
    # The same as the decoder of the translators that begins where an input of zeros leaves it.
    other = Seq2Seq(source_vocab_size=9, target_vocab_size=9, embedding_size=6, hidden_size=7, num_layers=1).double()
    other.decoder.load_state_dict(model.lstm.state_dict())
    other.target_embedding.load_state_dict(model.word_embedding.state_dict())
    other.output.load_state_dict(model.output.state_dict())
    h, c = other.decoder(torch.zeros(3, 1, 6, dtype=torch.float64))[1]
    y = other.decoder(other.target_embedding(tokens.shifted(TARGET)), (h, c))[0]
    torch.testing.assert_close(scores, other.output(y), rtol=0, atol=1e-12)


# Show, Attend and Tell


def test_the_paper_s_grid():
    with torch.device("meta"):
        model = ShowAttendTell()
    assert (model.locations, model.keys.in_features) == ((14, 14), 512)


def test_weights_sum_to_one():
    model = ShowAttendTell(**SMALL, attention_size=5).eval()
    looked = model.look(IMAGES, tokens.shifted(TARGET))
    assert looked.weights.shape == (3, 4, 64)
    torch.testing.assert_close(looked.weights.sum(2), torch.ones(3, 4))
    assert looked.weights is looked.seen or torch.equal(looked.weights, looked.seen)


def test_forward_equals_the_equations():
    model = ShowAttendTell(**SMALL, attention_size=5).double().eval()
    p = dict(model.named_parameters())
    a = model.encoder(IMAGES.double()).flatten(2).transpose(1, 2)  # (b, l, d)
    n, e, d = 7, 6, a.shape[2]
    h = torch.tanh(a.mean(1) @ p["first_h.weight"].T + p["first_h.bias"])
    c = torch.tanh(a.mean(1) @ p["first_c.weight"].T + p["first_c.bias"])
    gates = [part.split([e, d, n], 1) for part in p["cells.weight"].chunk(4)]
    biases = p["cells.bias"].chunk(4)
    wanted = []
    for word in tokens.shifted(TARGET).unbind(1):
        y = p["word_embedding.weight"][word]
        energies = torch.stack(
            [
                torch.tanh(a[:, at] @ p["keys.weight"].T + p["keys.bias"] + h @ p["query.weight"].T)
                @ p["energy.weight"][0]
                for at in range(a.shape[1])
            ],
            1,
        )
        alpha = energies.exp() / energies.exp().sum(1, keepdim=True)
        beta = 1 / (1 + torch.exp(-(h @ p["gate.weight"].T + p["gate.bias"])))
        z = beta * sum(alpha[:, at, None] * a[:, at] for at in range(a.shape[1]))
        i, f, g, o = (
            y @ of_y.T + z @ of_z.T + h @ of_h.T + bias for (of_y, of_z, of_h), bias in zip(gates, biases, strict=True)
        )
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        deep = y + h @ p["of_h.weight"].T + p["of_h.bias"] + z @ p["of_z.weight"].T
        wanted.append(deep @ p["output.weight"].T + p["output.bias"])
    found = model(IMAGES.double(), tokens.shifted(TARGET))
    torch.testing.assert_close(found, torch.stack(wanted, 1), rtol=0, atol=1e-11)


def test_a_gate_of_one_is_plain_soft_attention():
    model = ShowAttendTell(**SMALL, attention_size=5).double().eval()
    plain = ShowAttendTell(**SMALL, attention_size=5, gate=False).double().eval()
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("gate.")})
    with torch.no_grad():
        model.gate.weight.zero_()
    words = tokens.shifted(TARGET)
    assert not torch.allclose(model(IMAGES.double(), words), plain(IMAGES.double(), words))
    with torch.no_grad():
        model.gate.bias.fill_(1e3)
    torch.testing.assert_close(model(IMAGES.double(), words), plain(IMAGES.double(), words), rtol=0, atol=0)


def test_what_is_seen_can_be_chosen():
    model = ShowAttendTell(**SMALL, attention_size=5, attention="hard").double().eval()
    words, images = tokens.shifted(TARGET), IMAGES.double()
    plain = model.look(images, words)
    assert torch.equal(plain.seen, plain.weights)
    one = torch.zeros(3, 64, dtype=torch.float64)
    one[:, 37] = 1
    looked = model.look(images, words, lambda weights, step: one)
    assert torch.equal(looked.seen, one[:, None].expand(-1, 4, -1))
    torch.testing.assert_close(looked.weights[:, 0], plain.weights[:, 0])
    # A picture whose annotations are the same everywhere looks alike, wherever one looks.
    a = model.encoder.annotations(images)
    model.encoder.annotations = lambda _: a[:, 37:38].expand(-1, 64, -1)
    expected = model.look(images, words).readout
    torch.testing.assert_close(model.look(images, words, lambda weights, step: one).readout, expected)


def test_a_beam_s_states_look_at_the_memory_of_their_own_picture():
    model = ShowAttendTell(**SMALL, attention_size=5).double().eval()
    state = model.start(IMAGES.double())
    words = torch.tensor([4, 5, 6, 7, 8, 4])
    together, _ = model.step(words, model.spread(state, 2))
    for at in range(6):
        own = tuple(part[at // 2 : at // 2 + 1] for part in state)
        torch.testing.assert_close(model.step(words[at : at + 1], own)[0][0], together[at], rtol=0, atol=1e-12)


# The ConvNets


def drawn(encoder):
    """An encoder with first weights."""
    for name, parameter in encoder.named_parameters():
        encoder.initialise(name, parameter, None)
    return encoder


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convnet_is_an_encoder_without_spare_layers(name):
    side = {"overfeat_fast": 231, "overfeat_accurate": 221, "googlenet": 70, "alexnet": 67}.get(name, 40)
    for poolings in range(6):
        encoder = drawn(Encoder(name, [3, side, side], 64 if "overfeat" in name else 16, poolings))
        images = torch.rand(1, 3, side, side)
        maps = encoder(images)
        assert maps.shape == (1, encoder.maps, encoder.rows, encoder.columns)
        maps.sum().backward()
        assert all(parameter.grad is not None for parameter in encoder.parameters())
        assert encoder.annotations(images).shape == (1, encoder.rows * encoder.columns, encoder.maps)


def test_locations_are_numbered_row_after_row():
    encoder = drawn(Encoder("vgg11", [3, 32, 64], 16, 2))
    images = torch.rand(1, 3, 32, 64)
    a, maps = encoder.annotations(images), encoder(images)
    assert (encoder.rows, encoder.columns) == (8, 16)
    assert torch.equal(a[0, 16 * 3 + 5], maps[0, :, 3, 5])


def test_an_encoder_gives_the_maps_of_the_whole_network():
    vgg = VGG19(image=[3, 32, 32], narrow=16, num_classes=3)
    seen = {}
    vgg.block5[-1].register_forward_hook(lambda _, x, y: seen.update(maps=y.relu()))
    images = torch.rand(2, 3, 32, 32)
    vgg.eval()(images)
    assert torch.equal(vgg.maps(images, 4), seen["maps"])
    net = GoogLeNet(image=[3, 64, 64], narrow=8, num_classes=3, auxiliary=False).eval()
    net.inception5b.register_forward_hook(lambda _, x, y: seen.update(last=y))
    net.inception4e.register_forward_hook(lambda _, x, y: seen.update(middle=y))
    images = torch.rand(2, 3, 64, 64)
    net(images)
    assert torch.equal(net.maps(images, 4), seen["last"])
    assert torch.equal(net.maps(images, 3), seen["middle"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShowAndTell(**{**SMALL, "encoder": "lenet5"}), "encoder is 'lenet5', no ConvNet for images of col"),
        (lambda: ShowAndTell(**{**SMALL, "vocab_size": 4}), "vocab_size is 4, not more than the four special tokens"),
        (lambda: ShowAndTell(**{**SMALL, "poolings": -1}), "poolings is -1, poolings to pass. Set at least 0"),
        (lambda: ShowAttendTell(**{**SMALL, "hidden_size": 0}), "hidden_size is 0, nothing. Set at least 1"),
        (lambda: ShowAttendTell(**SMALL, dropout=1.0), "dropout is 1.0, the probability of dropping a unit"),
    ],
)
def test_impossible_settings_are_refused_with_value_and_remedy(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        make()
    assert str(caught.value).startswith(message)
