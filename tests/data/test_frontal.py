"""Faces turned to the front, on a head of points in space that is painted and seen from the side."""

import numpy as np
import pytest
import torch

from dltk.data.frontal import Frontal, camera, similarity
from dltk.errors import DataError

SIZE = 48


def head() -> np.ndarray:
    """Points of half an ellipsoid (30, 3), symmetric about the middle column."""
    middle = (SIZE - 1) / 2
    across, down = np.meshgrid(np.linspace(-18, 18, 5), np.linspace(-20, 20, 6))
    depth = 24 * np.sqrt(1 - (across / 30) ** 2 - (down / 30) ** 2)
    return np.stack([middle + across, middle + down, depth], axis=-1).reshape(-1, 3)


def looks(turn: float, nod: float = 0.0, scale: float = 1.0, tilt: float = 0.0) -> np.ndarray:
    """The camera (2, 4) that sees a head turned by so many degrees, about the frontal image's middle."""
    a, b, c = np.radians([turn, nod, tilt])
    sideways = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nodding = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    tilting = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    rows = scale * (tilting @ nodding @ sideways)[:2]
    middle = np.array([(SIZE - 1) / 2, (SIZE - 1) / 2, 10.0])
    return np.concatenate([rows, ([40, 36] - rows @ middle)[:, None]], axis=1)


def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The grey of a head's places by their x and y as seen from the front; not alike on both sides."""
    return 120 + 70 * np.sin(x / 5) * np.cos(y / 7) + x


def rendered(points: np.ndarray, shape: np.ndarray, triangles: np.ndarray, width: int = 80, height: int = 72) -> tuple:
    """A painted head's image (1, h, w), whose corners lie at points (p, 2); and which triangles look this way."""
    image, shown = np.zeros((height, width)), []
    for number, corners in enumerate(triangles):
        (ax, ay), (bx, by), (cx, cy) = points[corners]
        twice = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        (fx, fy), (gx, gy), (hx, hy) = shape[corners, :2]
        if np.sign(twice) != np.sign((gx - fx) * (hy - fy) - (gy - fy) * (hx - fx)):
            continue
        shown.append(number)
        for row in range(height):
            for column in range(max(0, int(min(ax, bx, cx))), min(width, int(max(ax, bx, cx)) + 2)):
                second = ((column - ax) * (cy - ay) - (row - ay) * (cx - ax)) / twice
                third = ((bx - ax) * (row - ay) - (by - ay) * (column - ax)) / twice
                if min(second, third, 1 - second - third) >= -0.15:  # a little beyond, for the interpolation's sake
                    first = 1 - second - third
                    places = first * fx + second * gx + third * hx, first * fy + second * gy + third * hy
                    image[row, column] = paint(*places)
    return torch.from_numpy(image.round().clip(0, 255)).to(torch.uint8)[None], shown


@pytest.mark.parametrize("seed", range(3))
def test_camera_is_weighted_least_squares(seed):
    random = np.random.default_rng(seed)
    space, places = random.normal(size=(12, 3)), random.normal(size=(12, 2))
    root = random.normal(size=(24, 24))
    covariance = root @ root.T + 0.1 * np.eye(24)
    design = np.zeros((24, 8))
    for number, (x, y, z) in enumerate(space):
        design[2 * number] = [x, y, z, 1, 0, 0, 0, 0]
        design[2 * number + 1] = [0, 0, 0, 0, x, y, z, 1]
    inverse = np.linalg.inv(covariance)
    wanted = np.linalg.inv(design.T @ inverse @ design) @ design.T @ inverse @ places.reshape(-1)
    np.testing.assert_allclose(camera(space, places, covariance).reshape(-1), wanted, rtol=1e-6, atol=1e-8)
    plain = camera(space, places)
    np.testing.assert_allclose(plain, camera(space, places, 7.0 * np.eye(24)), rtol=1e-9)
    assert abs(plain - camera(space, places, covariance)).max() > 0.01
    exact = looks(25, 10, 1.3, 8)
    seen = np.concatenate([space, np.ones((12, 1))], axis=1) @ exact.T
    np.testing.assert_allclose(camera(space, seen, covariance), exact, atol=1e-7)


def test_similarity_is_least_squares():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(9, 2)), random.normal(size=(9, 2))
    rows = np.concatenate([[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in one])
    a, b, across, down = np.linalg.lstsq(rows, other.reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(similarity(one, other), [[a, -b, across], [b, a, down]], atol=1e-12)


@pytest.mark.parametrize(("turn", "nod", "scale", "tilt"), [(0, 0, 1, 0), (20, 0, 1, 0), (-25, 10, 1.4, 20)])
def test_a_head_that_was_turned_is_seen_from_the_front(turn, nod, scale, tilt):
    shape = head()
    points = np.concatenate([shape, np.ones((len(shape), 1))], axis=1) @ looks(turn, nod, scale, tilt).T
    frontal = Frontal(shape, SIZE)
    image, shown = rendered(points, shape, frontal.triangles)
    assert len(shown) == len(frontal.triangles)
    got = frontal(image, points)[0].numpy().astype(float)
    rows, columns = np.mgrid[8:40, 8:40]
    assert abs(got[8:40, 8:40] - paint(columns, rows)).mean() < 1.5
    assert got[0].max() == 0  # above all points
    if turn:
        still = image[0, 12:60, 16:64].numpy().astype(float)  # the middle of the image as it came
        assert abs(still[8:40, 8:40] - paint(columns, rows)).mean() > 10


def test_what_looks_away_is_read_on_the_other_side():
    shape = head()
    points = np.concatenate([shape, np.ones((len(shape), 1))], axis=1) @ looks(60).T
    frontal = Frontal(shape, SIZE)
    image, shown = rendered(points, shape, frontal.triangles)
    assert 0 < len(shown) < len(frontal.triangles)
    got = frontal(image, points)[0].numpy().astype(float)
    hidden = np.setdiff1d(np.arange(len(frontal.triangles)), shown)
    x, y = shape[frontal.triangles[hidden], :2].mean(1).round().astype(int).T
    assert abs(got[y, x] - paint(SIZE - 1 - x, y)).mean() < 6
    assert abs(got[y, x] - paint(x, y)).mean() > 20


def test_a_face_keeps_what_the_camera_cannot_explain():
    shape = head()
    points = np.concatenate([shape, np.ones((len(shape), 1))], axis=1) @ looks(20).T
    own = points.copy()
    own[12] += [2.0, -1.5]  # this face's own
    frontal = Frontal(shape, SIZE)
    change = similarity(own, shape[:, :2])[:, :2] @ [2.0, -1.5]
    place = (shape[12, :2] + change).round().astype(int)
    there = frontal.places(own)[place[1], place[0]]
    assert np.hypot(*(there - own[12])) < 1.0
    assert np.hypot(*(frontal.places(points)[place[1], place[0]] - points[12])) > 1.0


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (head()[:, :2][:7], r"points: have the shape \(7, 2\), and the head has 30"),
        (np.ones((30, 2)), "points: all 30 are at one place"),
        (np.full((30, 2), np.nan), "points: all 30 are at one place, or no numbers"),
    ],
)
def test_points_that_are_refused(points, said):
    with pytest.raises(DataError, match=said):
        Frontal(head(), SIZE).places(points)


def test_heads_and_covariances_that_are_refused():
    flat = head() * [1, 1, 0]
    with pytest.raises(DataError, match="points: the 30 of the head determine no camera"):
        Frontal(flat, SIZE).places(flat[:, :2])
    with pytest.raises(DataError, match="head: its points span no triangles"):
        Frontal(head()[:2], SIZE)
    with pytest.raises(DataError, match=r"head: has the shape \(30, 2\)"):
        Frontal(head()[:, :2], SIZE)
    with pytest.raises(DataError, match="covariance: is none of 60 numbers"):
        camera(head(), head()[:, :2], -np.eye(60))
