"""Whether a network's layers can lie on several devices, one behind the other.

A network says by `pipeline_stages` on how many at most, by `stage_of` which of them has a parameter, and by
`pipeline_stage` what one of them computes: a module that takes what the one before hands on, two tensors of `width`
numbers for each token, and the sources' `lengths`.
"""

from collections.abc import Iterator

from torch import nn


def objections(network: nn.Module, devices: int) -> Iterator[str]:
    """Why so many devices cannot have the network's layers."""
    most, name = getattr(network, "pipeline_stages", None), type(network).__name__
    if most is None:
        yield f"{name} has no pipeline_stages, which says on how many devices its layers can lie"
    elif devices > most:
        yield f"the layers of {name} can lie on {most} {'device' if most == 1 else 'devices'} at most"
