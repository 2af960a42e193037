"""Published weights of other libraries, under the names that our networks give them.

Only of networks that are the same, layer by layer: VGG's configurations A, B, D and E. torchvision and timm number
their convolutions, rectifiers and poolings through; timm's two hidden full layers are convolutions of 7 x 7 and 1 x 1.
Both put ImageNet's classes into the order of their WordNet ids, as our data have it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from dltk import catalogue
from dltk.errors import LaunchError
from dltk.models.vgg import CONFIGURATIONS

CONFIGURATION = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}


@dataclass(frozen=True)
class Layout:
    """How a library names the full layers, and what its networks read: pixels from 0 to 1, less mean, over std."""

    full: tuple[str, str, str]  # fc6, fc7, fc8
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


LAYOUTS = {
    "torchvision": Layout(("classifier.0", "classifier.3", "classifier.6")),
    "timm": Layout(("pre_logits.fc1", "pre_logits.fc2", "head.fc")),
}
# Why weights of theirs are not ours.
REFUSED = {
    "alexnet": "theirs is the network of 2014 (arXiv 1404.5997): other widths, no groups, no response normalisation",
    "googlenet": "theirs has batch normalisation, no biases in its convolutions, and 3 × 3 windows for the 5 × 5",
    "overfeat_fast": "they have no such network",
    "overfeat_accurate": "they have no such network",
    "vgg11_lrn": "they have no configuration A-LRN",
    "vgg16c": "they have no configuration C",
}


def translated(found: Mapping[str, Tensor], architecture: str, layout: str, where: object) -> dict[str, Tensor]:
    """Tensors under the names and in the shapes of ours.

    Args:
        found: theirs, by name.
        architecture: of the catalogue.
        layout: `torchvision` or `timm`.
        where: the file, for messages.

    Raises:
        LaunchError: there is no such network of theirs that is the same, or the tensors are another network's.
    """
    require_same(architecture)
    normalised = next((name for name in found if name.endswith("running_mean")), None)
    if normalised is not None:
        what = f"has batch normalisation ({normalised.removesuffix('.running_mean')}), which {architecture} has not"
        raise LaunchError(where, "--as", what, "Take the weights of the network without it (no _bn in its name).")
    names = dict(_names(architecture, layout))
    if set(names) != set(found):
        raise _another(found, names, architecture, layout, where)
    return {
        # fc6 and fc7 as convolutions read the same maps in the same order.
        ours: found[theirs].flatten(1) if ours.startswith("fc") and ours.endswith("weight") else found[theirs]
        for theirs, ours in names.items()
    }


def require_same(architecture: str) -> None:
    """Refuse a network that the other libraries do not have, layer by layer.

    Raises:
        LaunchError: with the reason.
    """
    if architecture not in CONFIGURATION:
        raise _refusal(architecture)


def _names(architecture: str, layout: str) -> Iterator[tuple[str, str]]:
    """Their names and ours, of every tensor."""
    place = 0  # in their list of convolutions, rectifiers and poolings
    layers: list[tuple[str, str]] = []
    for number, kernels in enumerate(CONFIGURATIONS[CONFIGURATION[architecture]], 1):
        for i, _ in enumerate(kernels):
            layers.append((f"features.{place}", f"block{number}.{i}"))
            place += 2
        place += 1
    layers += zip(LAYOUTS[layout].full, ("fc6", "fc7", "fc8"), strict=True)
    for theirs, ours in layers:
        for kind in ("weight", "bias"):
            yield f"{theirs}.{kind}", f"{ours}.{kind}"


def _refusal(architecture: str) -> LaunchError:
    if architecture in REFUSED:
        what = f"no published weights fit '{architecture}' of torchvision's or timm's: {REFUSED[architecture]}"
    elif architecture in catalogue.MODELS:
        what = f"neither torchvision nor timm has the network '{architecture}'"
    else:
        what = f"there is no network '{architecture}'"
    return LaunchError("", "--as", what, f"Choices: {', '.join(CONFIGURATION)}.")


def _another(
    found: Mapping[str, Tensor], names: Mapping[str, str], architecture: str, layout: str, where: object
) -> LaunchError:
    """The error that tensors are another network's, or in another layout; it says which where that is known."""
    for other in CONFIGURATION:
        for laid_out in LAYOUTS:
            if set(found) == {theirs for theirs, _ in _names(other, laid_out)}:
                what = f"holds {other} in the layout of {laid_out}, not {architecture} in that of {layout}"
                return LaunchError(where, "--as", what, f"Say --as {other} --layout {laid_out}.")
    missing = [name for name in names if name not in found]
    unknown = [name for name in found if name not in names]
    kinds = (("missing", missing), ("unknown", unknown))
    what = "; ".join(f"{kind}: {', '.join(some[:4])}" + (" …" if some[4:] else "") for kind, some in kinds if some)
    remedy = "Give the weights of that network, unchanged."
    return LaunchError(where, "--as", f"holds no {architecture} in the layout of {layout}: {what}", remedy)
