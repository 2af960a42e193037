"""LeNet-5's output: squared distances to a fixed picture of each digit.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998),
section II.B, equation 7 and figure 3. The ten 7 x 12 pictures are drawn here after that figure's ASCII style; the paper
prints them as an image only, so single pixels may differ from those of 1998.
"""

# Shapes: b images, k classes, d components of a code (7 * 12 = 84).

import torch
from torch import Tensor, nn

ROWS, COLUMNS = 12, 7

# Each line is one row of all ten digits, 0 to 9.
_DRAWN = """
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##..#. ##...## ##...## ##...##
##...## .####.. ##...## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## ..#.##. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ######. ##..... ....##. .##.##. ##...##
##...## ...##.. ....##. ..####. .#..##. ##...## ######. ....##. ..###.. .######
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. .##.##. .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. ##..... .....## ....##. ##...## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## .#..##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
"""


def digit_codes() -> Tensor:
    """The pictures of the digits 0 to 9 as codes (10, 84), row by row: ink +1, background -1."""
    rows = [line.split() for line in _DRAWN.strip().splitlines()]
    return torch.tensor([[1.0 if dot == "#" else -1.0 for row in rows for dot in row[digit]] for digit in range(10)])


class RBFOutput(nn.Module):
    """Squared Euclidean distance of an activity vector to each class's fixed code; small means alike.

    Args:
        codes: the fixed codes (k, d), not trained.
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes, persistent=False)  # (k, d)

    def forward(self, activities: Tensor) -> Tensor:
        """Activities (…, d) to squared distances (…, k)."""
        return (activities[..., None, :] - self.codes).square().sum(-1)
