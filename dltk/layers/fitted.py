"""Networks that are fitted at once, of which only the data say how many numbers they keep."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Fitted(nn.Module):
    """Its own buffers take any shape from a state: how much was kept is known from there only."""

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)
