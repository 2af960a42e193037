"""Dynamic time warping against every path there is, written out."""

import math

import pytest
import torch

from dltk.models.dtw import NearestTemplate

STEPS = {0: (((1, 0),), ((0, 1),), ((1, 1),)), 1: (((1, 1),), ((1, 1), (1, 0)), ((1, 1), (0, 1)))}
SMALL = {"num_classes": 3, "coefficients": 2, "frames": 5}


def paths(end, slope, window):
    """All paths from the first frames of both to those at `end`: pairs of frames and how much their distance counts."""
    found, open_paths = [], [[((0, 0), 2)]]
    while open_paths:
        path = open_paths.pop()
        (i, j), _ = path[-1]
        if (i, j) == (end, end):
            found.append(path)
        for steps in STEPS[slope]:
            longer, at = list(path), (i, j)
            for di, dj in steps:
                at = at[0] + di, at[1] + dj
                longer.append((at, di + dj))
            if max(at) <= end and all(window is None or abs(a - b) <= window for (a, b), _ in longer):
                open_paths.append(longer)
    return found


def fitted(utterances, labels=(0, 1, 2), **settings):
    model = NearestTemplate(**{**SMALL, **settings})
    model.fit(utterances[:, None], torch.tensor(labels))
    return model


@pytest.fixture
def frames():
    drawn = torch.Generator().manual_seed(0)
    return torch.rand(4, 2, 5, generator=drawn), torch.rand(3, 2, 5, generator=drawn)


@pytest.mark.parametrize("window", [None, 0, 1, 3])
@pytest.mark.parametrize("slope", [0, 1])
def test_distances_are_those_of_the_best_of_all_paths(frames, slope, window):
    utterances, templates = frames
    every = paths(4, slope, window)
    assert all(sum(weight for _, weight in path) == 2 * 5 for path in every)
    found = fitted(templates, slope=slope, window=window).distances(utterances.double())
    for one, row in zip(utterances.double(), found, strict=True):
        for other, distance in zip(templates.double(), row, strict=True):
            costs = [sum(weight * (one[:, i] - other[:, j]).norm() for (i, j), weight in path) for path in every]
            torch.testing.assert_close(distance, min(costs) / 10)


def test_how_many_paths_there_are():
    both_ways = sum(math.comb(4, k) ** 2 * 2**k for k in range(5))
    assert (len(paths(4, 0, None)), len(paths(4, 1, None)), len(paths(4, 1, 0))) == (both_ways, 7, 1)


def test_an_utterance_that_is_slow_elsewhere_is_at_no_distance(frames):
    begun, ended = frames[1][:, :, [0, 0, 0, 1, 2]], frames[1][:, :, [0, 1, 2, 2, 2]]
    asked = ended[0].double()[None]
    at_will, half_and_twice = (fitted(begun, slope=slope).distances(asked)[0, 0] for slope in (0, 1))
    assert at_will < 1e-7
    assert half_and_twice > 0.01  # the other is slowed three times


def test_the_score_of_a_class_is_its_nearest_template_s_distance(frames, monkeypatch):
    utterances, templates = frames
    model = fitted(torch.cat([templates, utterances]), labels=(2, 0, 1, 1, 1, 0, 2))
    asked = torch.rand(3, 1, 2, 5)
    distances = model.distances(asked[:, 0].double())
    wanted = [-distances[:, model.labels == label].amin(1) for label in range(3)]
    torch.testing.assert_close(model(asked), torch.stack(wanted, 1).float())
    assert model(utterances[:, None]).argmax(1).tolist() == [1, 1, 0, 2]
    monkeypatch.setattr("dltk.models.dtw.PAIRS", 7)  # utterance by utterance
    torch.testing.assert_close(model(asked), torch.stack(wanted, 1).float())


def test_the_first_templates_of_each_class_are_kept(frames):
    utterances, templates = frames
    every = torch.cat([templates, utterances])
    model = fitted(every, labels=(2, 0, 1, 1, 1, 0, 2), templates=2)
    assert model.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(model.templates.float(), every[[1, 5, 2, 3, 0, 6]])


def test_state_round_trips_into_a_fresh_one(frames, tmp_path):
    model, asked = fitted(frames[1]), frames[0][:, None]
    torch.save(model.state_dict(), tmp_path / "state.pt")
    fresh = NearestTemplate(**SMALL)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(fresh(asked), model(asked))


def test_runs_on_the_meta_device():
    with torch.device("meta"):
        assert NearestTemplate()(torch.zeros(2, 1, 16, 15)).shape == (2, 3)


def test_what_is_refused(frames):
    with pytest.raises(RuntimeError, match="there are no templates: call fit"):
        NearestTemplate(**SMALL)(frames[0][:, None])
    with pytest.raises(ValueError, match=r"targets are the classes \[0, 2\], and each of num_classes=3 needs a templ"):
        fitted(frames[1], labels=(0, 2, 2))
    with pytest.raises(ValueError, match=r"images are \(3, 1, 2, 5\), the network takes \(b, 1, 2, 6\)"):
        fitted(frames[1], frames=6)
    with pytest.raises(ValueError, match=r"slope is 2, the paper's P\. Set 0 or 1"):
        NearestTemplate(slope=2)
    with pytest.raises(ValueError, match=r"templates is 0, nothing to compare with\. Set at least 1"):
        NearestTemplate(templates=0)
    with pytest.raises(ValueError, match=r"window is -1, a number of frames\. Set at least 0"):
        NearestTemplate(window=-1)
