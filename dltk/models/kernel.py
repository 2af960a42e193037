"""Kernel machine: Gaussian bumps on the training images, the shallow baseline of the article.

Schölkopf, Smola, "Learning with kernels", MIT Press (2002), chapters 1 and 7: the support vector machine with the
kernel exp(-gamma |x - s|^2), one machine for each pair of classes. The article's section "Supervised learning" says
why it does not generalise far from the training images.

Departs from the book: scikit-learn's SVC solves the quadratic programme; what it found is kept as plain tensors. Ties
of votes go to the more confident class, as with SVC(break_ties=True), so that the greatest score is the answer.
"""

# Shapes: b images, n images to fit or support vectors, d = c h w, k classes, m classes seen while fitting,
# p = m (m - 1) / 2 pairs of them.

from typing import Literal

import torch
from torch import Tensor

from dltk.layers import expect
from dltk.layers.fitted import Fitted


class KernelMachine(Fitted):
    """Support vector machine with a Gaussian kernel; fitted at once, computed in double precision.

    Args:
        num_classes: number of classes.
        image: channels, rows and columns of an image.
        C: price of a training image on the wrong side of its margin.
        gamma: narrowness of the kernel; `scale` takes 1 / (d * variance of the pixels fitted).

    Raises:
        ValueError: a setting is impossible.
    """

    support: Tensor
    coefficients: Tensor
    intercept: Tensor
    labels: Tensor
    width: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        image: list[int] = [1, 28, 28],  # noqa: B006 - read only; the signature is the schema
        C: float = 10.0,
        gamma: float | Literal["scale"] = "scale",
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        if C <= 0:
            raise ValueError(f"C is {C}, a price. Set a number above 0, such as 10")
        if gamma != "scale" and not (isinstance(gamma, int | float) and gamma > 0):
            raise ValueError(f"gamma is {gamma!r}, the kernel's narrowness. Set a number above 0, or 'scale'")
        self.num_classes, self.C, self.gamma = num_classes, C, gamma
        self.input_shape = expect.image_shape(image)
        c, h, w = self.input_shape
        double = torch.float64
        self.register_buffer("support", torch.zeros(0, c * h * w, dtype=double))  # (n, d)
        self.register_buffer("coefficients", torch.zeros(0, 0, dtype=double))  # (p, n)
        self.register_buffer("intercept", torch.zeros(0, dtype=double))  # (p,)
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))  # (m,) classes seen, rising
        self.register_buffer("width", torch.zeros((), dtype=double))  # gamma, as a number

    def fit(self, images: Tensor, targets: Tensor) -> None:
        """Find the support vectors among images (n, c, h, w), float, with their right classes (n,), int64.

        Raises:
            ValueError: the images show fewer than two classes, or a class beyond num_classes.
        """
        from sklearn.svm import SVC

        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        labels = targets.unique().tolist()
        if len(labels) < 2 or labels[-1] >= self.num_classes or labels[0] < 0:
            raise ValueError(
                f"targets are the classes {labels}. Give at least two classes, all below num_classes={self.num_classes}"
            )
        pixels = images.flatten(1).double().cpu().numpy()  # (n, d)
        spread = pixels.shape[1] * pixels.var() or 1.0  # 1 for images that are all alike, as in scikit-learn
        gamma = 1 / spread if self.gamma == "scale" else float(self.gamma)
        machine = SVC(C=self.C, kernel="rbf", gamma=gamma).fit(pixels, targets.cpu().numpy())
        # For two classes scikit-learn turns the signs so that positive means the second class; here it means the first.
        sign = -1.0 if len(labels) == 2 else 1.0
        dual = sign * torch.as_tensor(machine.dual_coef_)  # (m-1, n)
        self._keep(
            support=torch.as_tensor(machine.support_vectors_),
            coefficients=_pair_coefficients(dual, machine.n_support_.tolist()),
            intercept=sign * torch.as_tensor(machine.intercept_),
            labels=torch.tensor(labels),
            width=torch.tensor(gamma, dtype=torch.float64),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, c, h, w) to class scores (b, k): pairwise votes, ties broken by confidence."""
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        if not len(self.support) and not self.support.is_meta:
            raise RuntimeError("the kernel machine has not been fitted: call fit(images, targets), or load a state")
        kernel = torch.exp(-self.width * _squared_distances(images.flatten(1).double(), self.support))  # (b, n)
        decisions = kernel @ self.coefficients.T + self.intercept  # (b, p), positive for the pair's first class
        scores = images.new_full((len(images), self.num_classes), -1.0, dtype=torch.float64)  # of classes never seen
        return scores.index_copy(1, self.labels, _votes(decisions, len(self.labels))).float()  # (b, k)

    def _keep(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            setattr(self, name, tensor.to(self.support.device))


def _pair_coefficients(dual: Tensor, counts: list[int]) -> Tensor:
    """The dual coefficients (m-1, n), support vectors sorted by class, spread out to one row for each pair (p, n).

    For the pair (i, j), i < j, libsvm keeps those of class i in row j - 1 and those of class j in row i.
    """
    stops = torch.tensor(counts).cumsum(0).tolist()
    parts = [slice(stop - count, stop) for stop, count in zip(stops, counts, strict=True)]
    pairs = torch.triu_indices(len(counts), len(counts), 1).T.tolist()
    rows = torch.zeros(len(pairs), dual.shape[1], dtype=dual.dtype)  # (p, n)
    for row, (i, j) in zip(rows, pairs, strict=True):
        row[parts[i]] = dual[j - 1, parts[i]]
        row[parts[j]] = dual[i, parts[j]]
    return rows


def _squared_distances(images: Tensor, support: Tensor) -> Tensor:
    """Images (b, d) and support vectors (n, d) to squared distances (b, n)."""
    squares = images.square().sum(1)[:, None] + support.square().sum(1)  # (b, n)
    return torch.addmm(squares, images, support.T, alpha=-2).clamp(min=0)


def _votes(decisions: Tensor, classes: int) -> Tensor:
    """Decisions of the pairs (b, p) to votes of the classes (b, m), plus less than a third of a vote of confidence.

    The rule of scikit-learn's decision_function_shape="ovr" with break_ties=True.
    """
    one = torch.eye(classes, dtype=decisions.dtype, device=decisions.device)  # (m, m)
    first, second = (one[index] for index in torch.triu_indices(classes, classes, 1, device=decisions.device))  # (p, m)
    won = (decisions >= 0).double()  # (b, p)
    votes = won @ first + (1 - won) @ second  # (b, m)
    confidence = decisions @ (first - second)  # (b, m)
    return votes + confidence / (3 * (confidence.abs() + 1))
