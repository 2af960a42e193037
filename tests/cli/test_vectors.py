"""Words and sentences on a plane: the same plane again, PCA by hand, and labels that can be read."""

import itertools

import numpy as np
import pytest
import torch

from dltk.cli.vectors import MOST, draw_plane, plane_of
from dltk.layers.tokens import EOS
from dltk.models.seq2seq import Seq2Seq

NAMES = [f"word {number}" for number in range(60)]
VECTORS = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32) * [9, 4, 1, 1, 1, 1]


def test_pca_is_the_singular_value_decomposition_and_both_are_the_same_again() -> None:
    one, other = (plane_of(NAMES, VECTORS, None) for _ in range(2))
    centred = VECTORS - VECTORS.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(one.pca), np.abs(centred @ axes[:2].T), atol=1e-4)
    assert one.explained == pytest.approx(tuple(values[:2] ** 2 / (values**2).sum()), rel=1e-5)
    assert np.array_equal(one.pca, other.pca)
    assert np.array_equal(one.tsne, other.tsne)


def test_t_sne_begins_anew_from_a_seed_and_keeps_groups_apart() -> None:
    groups = np.concatenate([VECTORS[:20] / 9 + 100 * k for k in range(3)]).astype(np.float32)
    one, same, other = (plane_of(NAMES, groups, seed).tsne for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    for points in (one, other):
        distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(60)
        assert all(int(nearest) // 20 == at // 20 for at, nearest in enumerate(distances.argmin(1)))


@pytest.mark.parametrize("exact", [False, True])
def test_equal_vectors_and_few_are_borne(exact: bool) -> None:
    for vectors in (np.ones((5, 4), np.float32), VECTORS[:3]):
        plane = plane_of(NAMES[: len(vectors)], vectors, None, exact=exact)
        assert np.isfinite(plane.tsne).all()
        assert np.isfinite(plane.explained).all()
        draw_plane(plane, "few")


@pytest.mark.parametrize("crowd", [1.0, 0.02])
def test_labels_lie_upon_no_other_and_inside(crowd: float) -> None:
    vectors = VECTORS.copy()
    vectors[:50] *= crowd
    sheet, labelled = draw_plane(plane_of(NAMES, vectors, None), "a $title")
    sheet.canvas.draw()
    for axes, count in zip(sheet.axes, labelled.values(), strict=True):
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == count
        frame = axes.get_window_extent()
        assert all(
            frame.x0 <= box.x0 <= box.x1 <= frame.x1 and frame.y0 <= box.y0 <= box.y1 <= frame.y1 for box in boxes
        )
        for one, other in itertools.combinations(boxes, 2):
            assert (
                min(one.x1, other.x1) - max(one.x0, other.x0) < 0.5
                or min(one.y1, other.y1) - max(one.y0, other.y0) < 0.5
            )
    assert labelled["pca"] == 60 if crowd == 1 else labelled["pca"] < 60
    assert MOST >= 1000


def test_a_sentence_vector_is_all_that_the_decoder_is_told() -> None:
    torch.manual_seed(0)
    net = Seq2Seq(source_vocab_size=9, target_vocab_size=8, embedding_size=5, hidden_size=6, num_layers=2).eval()
    source = torch.tensor([[4, 5, EOS], [6, EOS, 0]])
    vectors = net.sentence_vector(source)
    assert vectors.shape == (2, 2 * 2 * 6)
    h, c = net.start(source)
    assert torch.equal(vectors, torch.stack([torch.cat([h[i].flatten(), c[i].flatten()]) for i in range(2)]))
    torch.testing.assert_close(net.sentence_vector(source[1:, :2])[0], vectors[1])
