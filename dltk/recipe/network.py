"""Makes a recipe's network on torch's meta device, without memory, so that its own complaints come before the run."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dltk import catalogue
from dltk.errors import RecipeError
from dltk.optim import parameter_groups
from dltk.recipe.check import complaint, constructor_of, first_line
from dltk.recipe.draft import SELECTORS, Draft
from dltk.trainer.strategies import pipeline_plan, tensor_plan
from dltk.trainer.strategies.tensor_plan import METHODS


def check_made(draft: Draft, settings: Mapping[str, Any]) -> list[str]:
    """Make the network, its schedule and its augmentation, and compare the network with the data's images.

    Returns:
        Notes for the user.

    Raises:
        RecipeError: one of them refuses a setting, or the network does not take the data's images.
    """
    for section in ("schedule", "data.augment"):
        chosen = settings["data"]["augment"] if section == "data.augment" else settings[section]
        if isinstance(chosen, dict):
            _made(draft, section, chosen)
    name = settings["model"]["architecture"]
    try:
        with torch.device("meta"):
            model = _made(draft, "model", settings["model"])  # parameters without memory
    except (NotImplementedError, RuntimeError) as error:
        if name in catalogue.MODELS:
            raise
        return [
            f"{draft.place('model.architecture')}: model.architecture: not checked beforehand: {first_line(error)}."
        ]
    if not isinstance(model, nn.Module):
        what = f"'{name}' makes a {type(model).__name__}, no torch.nn.Module"
        raise draft.error("model.architecture", what, "Name a network.")
    _check_groups(draft, settings, model)
    _check_image(draft, settings, model)
    _check_sharing(draft, settings, model)
    return []


def _made(draft: Draft, section: str, settings: Mapping[str, Any]) -> Any:
    """What a section names, made with its settings."""
    try:
        return without_values(constructor_of(section, settings))
    except RecipeError as error:
        raise draft.error(f"{section}.{SELECTORS[section]}", error.what, error.remedy) from None
    except (ValueError, TypeError) as error:
        fault = complaint(section, settings, error, draft.origin)
        raise draft.error(fault.key, fault.what, fault.remedy) from None


def without_values(constructor: partial[Any]) -> Any:
    """What a constructor makes; a network of ours without drawing its first weights.

    On the meta device they have no values, and drawing them there imports torch's compiler, which takes seconds.
    """
    make = constructor.func
    if not (isinstance(make, type) and hasattr(make, "initialise")):
        return constructor()
    silent: Any = type(make.__name__, (make,), {"initialise": lambda *_: None})
    made = silent(**constructor.keywords)
    made.__class__ = make
    return made


def _check_groups(draft: Draft, settings: Mapping[str, Any], model: nn.Module) -> None:
    """Every group of parameters has some."""
    try:
        parameter_groups(model, (settings["optimizer"] or {}).get("groups", []))
    except ValueError as error:
        raise draft.error("optimizer.groups", first_line(error), "`dltk show` lists the names.") from None


def image_shape(settings: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Channels, rows and columns of the data's images, where the recipe and the catalogue say them."""
    data = settings["data"]
    row = catalogue.DATASETS.get(data["name"])
    channels, size = data.get("channels", row.channels if row else None), data.get("image_size")
    return (channels, size, size) if isinstance(channels, int) and isinstance(size, int) else None


def _check_image(draft: Draft, settings: Mapping[str, Any], model: nn.Module) -> None:
    """The images have the size that the network says it takes; where it leaves a side free, one is sent through."""
    wanted, shape = getattr(model, "input_shape", None), image_shape(settings)
    if wanted is None or shape is None:
        return
    if len(wanted) != 3 or any(want not in (None, size) for want, size in zip(wanted, shape, strict=True)):
        name = settings["model"]["architecture"]
        what = f"its images are {_times(shape)}, '{name}' takes {_times(wanted)}"
        raise draft.error(_image_key(draft), what, _image_remedy(settings, wanted))
    if None in wanted:
        _send(draft, settings, model, shape)


def _send(draft: Draft, settings: Mapping[str, Any], model: nn.Module, shape: tuple[int, int, int]) -> None:
    try:
        scores = model.eval()(torch.empty(1, *shape, device="meta"))  # (1, k)
    except (ValueError, RuntimeError) as error:
        what = f"images of {_times(shape)} do not pass through the network: {first_line(error)}"
        raise draft.error(_image_key(draft), what, "Set data.image_size or the network's settings.") from None
    row = catalogue.DATASETS.get(settings["data"]["name"])
    if row and row.classes and isinstance(scores, Tensor) and scores.shape[-1] != row.classes:
        what = f"the network gives {scores.shape[-1]} scores, data set '{row.name}' has {row.classes} classes"
        raise draft.error("model.architecture", what, "Let the network give one score for each class.")


def _check_sharing(draft: Draft, settings: Mapping[str, Any], model: nn.Module) -> None:
    """As many processes as the recipe says can have the network's layers together."""
    launch = settings["launch"]
    sharing, plan, stages = launch["tensor"], launch["tensor_plan"], launch["pipeline"]
    known = isinstance(sharing, int) and plan in METHODS  # else they wait for the place's environment
    for objection in tensor_plan.objections(model, plan, sharing) if known and sharing > 1 else ():
        raise draft.error("launch.tensor", f"{sharing} given, and {objection}", "Set it to 1, or change the network.")
    for objection in pipeline_plan.objections(model, stages) if isinstance(stages, int) and stages > 1 else ():
        raise draft.error("launch.pipeline", f"{stages} given, and {objection}", "Set less, or change the network.")


def _image_key(draft: Draft) -> str:
    return "data.image_size" if "data.image_size" in draft.origin else "data.name"


def _image_remedy(settings: Mapping[str, Any], wanted: tuple[int | None, ...]) -> str:
    if "image" in settings["model"]:
        return f"Set model.image to [{', '.join(map(str, image_shape(settings) or ()))}], or data.image_size."
    return f"Set data.image_size to {wanted[1]}." if wanted[1] and wanted[1] == wanted[2] else "Set data.image_size."


def _times(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape)
