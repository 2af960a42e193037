"""The kernel machine against scikit-learn's SVC, whose solution it keeps as plain tensors."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from dltk.models.kernel import KernelMachine


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    targets = torch.tensor(data.target)
    return images[:900], targets[:900], images[900:], targets[900:]


def fitted(images, targets, **settings):
    machine = KernelMachine(**{"num_classes": 10, "image": [1, 8, 8], **settings})
    machine.fit(images, targets)
    return machine


def flat(images):
    return images.flatten(1).double().numpy()


@pytest.mark.parametrize("settings", [{}, {"C": 0.3, "gamma": 0.02}, {"C": 1, "gamma": 1}])
def test_argmax_equals_svc_predict(digits, settings):
    train, targets, test, _ = digits
    machine = fitted(train, targets, **settings)
    theirs = SVC(**{"C": 10.0, "gamma": "scale", **settings}, break_ties=True).fit(flat(train), targets.numpy())
    assert np.array_equal(machine(test).argmax(1).numpy(), theirs.predict(flat(test)))
    np.testing.assert_allclose(machine(test).numpy(), theirs.decision_function(flat(test)), atol=1e-5)


def test_is_a_good_baseline_on_digits(digits):
    train, targets, test, wanted = digits
    assert (fitted(train, targets)(test).argmax(1) == wanted).float().mean() > 0.93


def test_differs_from_the_plain_votes_only_where_they_tie(digits):
    train, targets, _, _ = digits
    machine = fitted(train[:300], targets[:300])
    noise = torch.rand(3000, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    theirs = SVC(C=10.0).fit(flat(train[:300]), targets[:300].numpy())
    scores = machine(noise)
    votes = scores.round()  # confidence is less than a third of a vote
    tied = (votes == votes.amax(1, keepdim=True)).sum(1) > 1
    assert tied.any()
    same = scores.argmax(1).numpy() == theirs.predict(flat(noise))
    assert same[~tied.numpy()].all()
    theirs.break_ties = True
    assert np.array_equal(scores.argmax(1).numpy(), theirs.predict(flat(noise)))


def test_two_classes(digits):
    train, targets, test, wanted = digits
    few, many = targets < 2, wanted < 2
    machine = fitted(train[few], targets[few], num_classes=2)
    theirs = SVC(C=10.0).fit(flat(train[few]), targets[few].numpy())
    assert np.array_equal(machine(test).argmax(1).numpy(), theirs.predict(flat(test)))
    assert (machine(test[many]).argmax(1) == wanted[many]).float().mean() > 0.99


def test_a_class_never_seen_never_wins(digits):
    train, targets, test, _ = digits
    some = (targets != 3) & (targets != 0)
    machine = fitted(train[some], targets[some], num_classes=12)
    scores = machine(test)
    assert scores.shape == (len(test), 12)
    assert set(scores.argmax(1).tolist()) <= set(targets[some].tolist())
    theirs = SVC(C=10.0, break_ties=True).fit(flat(train[some]), targets[some].numpy())
    assert np.array_equal(scores.argmax(1).numpy(), theirs.predict(flat(test)))


def test_state_round_trips_into_a_fresh_machine(digits, tmp_path):
    train, targets, test, _ = digits
    machine = fitted(train, targets)
    torch.save({"model." + key: value for key, value in machine.state_dict().items()}, tmp_path / "state.pt")
    fresh = torch.nn.ModuleDict({"model": KernelMachine(num_classes=10, image=[1, 8, 8])})
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(fresh["model"](test), machine(test))
    # The loaded tensors are copies.
    machine.coefficients.zero_()
    assert fresh["model"].coefficients.any()


def test_a_state_without_its_parts_is_refused(digits):
    train, targets, _, _ = digits
    state = fitted(train, targets).state_dict()
    del state["intercept"]
    with pytest.raises(RuntimeError, match="intercept"):
        KernelMachine(num_classes=10, image=[1, 8, 8]).load_state_dict(state)


def test_has_no_parameters_and_a_batch_of_one_works(digits):
    train, targets, test, _ = digits
    machine = fitted(train, targets)
    assert not list(machine.parameters())
    torch.testing.assert_close(machine(test[:1])[0], machine(test)[0])


def test_half_precision_around_it_does_not_touch_it(digits):
    train, targets, test, _ = digits
    machine = fitted(train, targets)
    plain = machine(test)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(machine(test), plain)


def test_images_that_are_all_alike_can_be_fitted():
    machine = fitted(torch.ones(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]))
    assert machine(torch.ones(1, 1, 8, 8)).isfinite().all()


def test_unfitted_is_said(digits):
    with pytest.raises(RuntimeError, match=r"has not been fitted: call fit\(images, targets\)"):
        KernelMachine(num_classes=10, image=[1, 8, 8])(digits[0])


def test_runs_on_the_meta_device():
    with torch.device("meta"):
        assert KernelMachine(num_classes=10)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1, too few to tell apart. Set at least 2"),
        ({"C": 0.0}, "C is 0.0, a price. Set a number above 0, such as 10"),
        ({"gamma": -1.0}, "gamma is -1.0, the kernel's narrowness. Set a number above 0, or 'scale'"),
        ({"gamma": "auto"}, "gamma is 'auto', the kernel's narrowness. Set a number above 0, or 'scale'"),
        ({"image": [8, 8]}, r"image is \[8, 8\], not \[channels, rows, columns\]"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        KernelMachine(**{"num_classes": 10, **settings})


@pytest.mark.parametrize("targets", [[3, 3], [0, 10], [-1, 2]])
def test_impossible_targets_are_refused(targets):
    with pytest.raises(ValueError, match=r"targets are the classes \[.*Give at least two classes, all below"):
        fitted(torch.rand(2, 1, 8, 8), torch.tensor(targets))
