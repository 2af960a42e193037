"""Faces turned to the front: a camera fitted to points of a face, and its image pulled, triangle by triangle, to where
a head that looks straight ahead has them.

Taigman, Yang, Ranzato, Wolf, "DeepFace: closing the gap to human-level performance in face verification", CVPR (2014),
section 2. A face is first moved, turned and scaled so that its points come near those of the reference head; an affine
camera is fitted from the head's points in space to them; what the camera leaves over is added to the head's own x and
y, so that faces keep what tells them apart; and each triangle of points is read from where the image has it. Triangles
that look away from the camera are read on the other side of the face.

Departs from the paper: who calls this has found the points, and brings the reference head (the paper finds 67 of them
by support vector regression, and takes the mean of scanned heads). Hidden triangles are replaced, where the paper
blends both sides.
"""

# Shapes: p points, c channels, h rows, w columns, s rows and columns of the frontal image.

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial import Delaunay, QhullError
from torch import Tensor

from dltk.data.transforms import resampled
from dltk.errors import DataError

Numbers = NDArray[np.floating[Any]]

REMEDY = "Give points of the face as x and y in pixels, at least four that do not all lie in one plane of the head."


def similarity(points: Numbers, anchors: Numbers) -> Numbers:
    """The turn, scale and shift (2, 3) that bring points (p, 2) nearest to anchors (p, 2), by least squares.

    Raises:
        DataError: the points are all at one place.
    """
    # With a complex number for each place it is one factor and one shift: z -> a z + b.
    one, other = points @ [1, 1j], anchors @ [1, 1j]
    away = one - one.mean()
    size = float((abs(away) ** 2).sum())
    if not size > 0 or not np.isfinite(size):
        raise DataError("", "points", f"all {len(points)} are at one place, or no numbers", REMEDY)
    factor = (away.conj() * (other - other.mean())).sum() / size
    shift = other.mean() - factor * one.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def camera(head: Numbers, points: Numbers, covariance: Numbers | None = None) -> Numbers:
    """The affine camera (2, 4) from a head's points (p, 3) to those of its image (p, 2), by weighted least squares.

    It minimises r' C^-1 r, where r are the points less what the camera makes of the head's. By the Cholesky factor of C
    that becomes a plain problem of least squares (section 2, "3D alignment").

    Args:
        head: x, y and z of the reference.
        points: x and y of the face.
        covariance: C of the errors of all points' x and y, x_1, y_1, x_2 … (2 p, 2 p); default: all alike.

    Raises:
        DataError: the points do not determine a camera, or the covariance is none.
    """
    rows = np.zeros((2 * len(head), 8))
    rows[0::2, :4] = rows[1::2, 4:] = _extended(head)
    values = points.reshape(-1).astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("", "points", "some are NaN or infinite", REMEDY)
    if covariance is not None:
        try:
            factor = cholesky(covariance, lower=True)
        except (np.linalg.LinAlgError, ValueError) as error:
            what = f"is none of {len(values)} numbers ({error})"
            raise DataError("", "covariance", what, "Give a positive definite matrix.") from None
        rows, values = (solve_triangular(factor, side, lower=True) for side in (rows, values))
    found, _, rank, _ = np.linalg.lstsq(rows, values, rcond=None)
    if rank < 8:
        raise DataError("", "points", f"the {len(head)} of the head determine no camera", REMEDY)
    return found.reshape(2, 4)


class Frontal:
    """Turns images of faces to the front, as one reference head has its points.

    Args:
        head: x, y and z of the reference's points (p, 3), x and y in pixels of the frontal image, which are where the
            middle of the first pixel is (0, 0); it is symmetric about the image's middle column.
        size: rows and columns of the frontal image; the paper's has 152.
        covariance: as of `camera`.
        fill: grey level of what lies outside the points.

    Raises:
        DataError: the head's points do not span triangles.
    """

    def __init__(self, head: Numbers, size: int = 152, *, covariance: Numbers | None = None, fill: int = 0) -> None:
        if head.ndim != 2 or head.shape[1] != 3:
            raise DataError("", "head", f"has the shape {head.shape}", "Give x, y and z of each point (p, 3).")
        self.head, self.size, self.covariance, self.fill = head.astype(np.float64), size, covariance, fill
        try:
            self.triangles: NDArray[np.int32] = Delaunay(self.head[:, :2]).simplices  # (t, 3)
        except (QhullError, ValueError) as error:
            raise DataError(
                "", "head", f"its points span no triangles ({str(error).splitlines()[0]})", REMEDY
            ) from None

    def __call__(self, image: Tensor, points: Numbers) -> Tensor:
        """An image of a face (c, h, w) and its points (p, 2), in pixels of it, to the frontal image (c, s, s); uint8.

        Raises:
            DataError: the points do not determine how the head is turned.
        """
        places = self.places(points)  # (s, s, 2)
        height, width = image.shape[1:]
        # `resampled` wants the longer side from -1 to 1, and reads as many pixels as it is given places.
        scaled = (2 * places + 1 - [width, height]) / max(height, width)
        return resampled(image[None], torch.from_numpy(scaled).float().permute(2, 0, 1)[None], self.fill)[0]

    def places(self, points: Numbers) -> Numbers:
        """Where in a face's image each pixel of the frontal one is read, x and y (s, s, 2); far away outside of it.

        Args:
            points: of the face (p, 2).

        Raises:
            DataError: as above.
        """
        if points.shape != (len(self.head), 2):
            what = f"have the shape {points.shape}, and the head has {len(self.head)}"
            raise DataError("", "points", what, "Give x and y of each of the head's points.")
        upright = _applied(similarity(points, self.head[:, :2]), points)  # (p, 2)
        seen = camera(self.head, upright, self.covariance)
        flat = _extended(self.head) @ seen.T  # (p, 2)
        front = self.head[:, :2] + upright - flat  # section 2.3: the head's x and y, and what the camera left over
        hidden = np.sign(_turns(flat, self.triangles)) != np.sign(_turns(self.head, self.triangles))  # (t,)
        rows, columns = np.mgrid[: self.size, : self.size]
        pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2)  # (s s, 2)
        places, found = self._read(pixels, front, points, ~hidden)
        mirrored = [self.size - 1, 0] + pixels[~found] * [-1, 1]
        places[~found], found[~found] = self._read(mirrored, front, points, ~hidden)
        return places.reshape(self.size, self.size, 2)

    def _read(self, pixels: Numbers, front: Numbers, points: Numbers, seen: NDArray[np.bool_]) -> tuple[Numbers, Any]:
        """Where pixels (n, 2) are read (n, 2), and whether they are in a triangle that is seen (n,)."""
        places, found = np.full(pixels.shape, -1e6), np.zeros(len(pixels), np.bool_)
        for corners in self.triangles[seen]:
            matrix = _extended(front[corners]).T  # (3, 3), of corners
            if abs(np.linalg.det(matrix)) < 1e-9:
                continue  # no place is in it
            shares = np.linalg.solve(matrix, _extended(pixels).T).T  # (n, 3)
            inside = (shares >= -1e-9).all(1) & ~found
            places[inside], found[inside] = shares[inside] @ points[corners], True
        return places, found


def _extended(places: Numbers) -> Numbers:
    """(n, d) to (n, d + 1), with a 1 at the end."""
    return np.concatenate([places, np.ones((len(places), 1))], axis=1)


def _applied(matrix: Numbers, places: Numbers) -> Numbers:
    """An affine map (2, 3) of places (n, 2)."""
    return _extended(places) @ matrix.T


def _turns(places: Numbers, triangles: NDArray[np.int32]) -> Numbers:
    """Twice the areas of triangles (t,), below zero where their corners go round the other way."""
    first, second, third = (places[triangles[:, corner], :2] for corner in range(3))
    (a, b), (c, d) = (second - first).T, (third - first).T
    return a * d - b * c
