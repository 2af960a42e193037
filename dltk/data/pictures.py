"""What data sets of encoded pictures share: each sample is decoded, cut and resized as a view says."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.plan import Numbers
from dltk.data.views import CentreCrop, Frame, View
from dltk.errors import DataError

NOTHING = np.empty(0)


class Pictures:
    """A data set whose samples lie encoded.

    A subclass sets `frame`, and has `fields(number)` (the sample's files by extension), `picture(fields)` (the encoded
    picture among them), `target(number, fields)`, and `key(number)` for messages.
    """

    decodes = True
    frame: Frame

    def fields(self, number: int) -> dict[str, bytes]:
        """The files of a sample, by extension."""
        raise NotImplementedError

    def picture(self, fields: dict[str, bytes]) -> bytes:
        """The encoded picture among a sample's files."""
        raise NotImplementedError

    def target(self, number: int, fields: dict[str, bytes]) -> int:
        """The class of a sample."""
        raise NotImplementedError

    def key(self, number: int) -> str:
        """The name of a sample."""
        raise NotImplementedError

    def order(self, numbers: Numbers) -> Numbers:
        """The positions (b,) of samples in the order in which they are best read."""
        return np.arange(len(numbers))

    def cut(self, picture: bytes, view: View | None, drawn: NDArray[np.float64]) -> Tensor | list[Tensor]:
        """An encoded picture as the view gives it, uint8 (c, s, s) but in some evaluations."""
        return (view or CentreCrop()).cut(picture, self.frame, drawn)

    def sample(self, number: int, view: View | None = None, drawn: NDArray[np.float64] = NOTHING) -> dict[str, Any]:
        """One sample: `image` uint8 (c, s, s), or as the view gives it, `target` int.

        Args:
            number: of the sample.
            view: how it is cut; None as in evaluation.
            drawn: the view's numbers for this sample (u,).

        Raises:
            DataError: it is damaged.
        """
        fields = self.fields(number)
        try:
            return {"image": self.cut(self.picture(fields), view, drawn), "target": self.target(number, fields)}
        except DataError as error:
            if error.where:
                raise
            raise DataError(self.key(number), error.key, error.what, error.remedy) from None

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample, as in evaluation."""
        return self.sample(number)

    def batch(
        self, numbers: Numbers, view: View | None = None, drawn: NDArray[np.float64] | None = None
    ) -> dict[str, Tensor]:
        """Many samples, read in the best order: `image` uint8 (b, c, s, s), `target` int64 (b,).

        The channels of a pixel lie side by side in memory (torch.channels_last), as they are decoded and resized;
        sorting them apart is for the device, where a network wants it.

        Raises:
            DataError: of the first that is damaged.
        """
        size, channels = self.frame.size, self.frame.channels
        shape = (len(numbers), channels, size, size)
        images = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        targets = torch.empty(len(numbers), dtype=torch.int64)
        for at in self.order(numbers).tolist():
            one = self.sample(int(numbers[at]), view, NOTHING if drawn is None else drawn[at])
            images[at], targets[at] = one["image"], one["target"]
        return {"image": images, "target": targets}
