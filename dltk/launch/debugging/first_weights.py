"""Checks of the network with its first weights."""

from dltk.launch.debugging.context import Context
from dltk.launch.debugging.finding import Finding, failed, not_applicable, passed
from dltk.launch.debugging.first_look import Gradients, look
from dltk.launch.debugging.training import train

LOWEST = 0.5  # of the expected loss: below this an untrained network knows too much
ABOVE = 1.5  # over the expected loss: scores of variance 3, three times what well-scaled first weights give


def finite(context: Context) -> Finding:
    """Nothing is NaN or infinite: samples, outputs, loss, gradients."""
    seen = context.once(look)
    count = len(context.first_batches) // context.accumulate
    if seen.not_finite:
        remedy = "Look there for a division by zero, a logarithm or root of something not positive, or an overflow."
        return failed(f"{seen.not_finite} is NaN or infinite", remedy, where=seen.not_finite)
    return passed(f"samples, outputs, loss and gradients of {count} batches", batches=count)


def initial_loss(context: Context) -> Finding:
    """The loss is what the task expects of a network that knows nothing."""
    seen = context.once(look)
    expected = seen.expected_loss
    if seen.losses == []:
        return not_applicable("no loss was measured")
    if expected is None:
        return not_applicable(f"{seen.loss:.3g}; the task expects no certain value of this loss")
    if context.settings["init"]:
        return not_applicable(f"{seen.loss:.3g}; the network does not start untrained")
    low, high = LOWEST * expected, expected + ABOVE
    numbers = {"loss": seen.loss, "expected": expected, "lowest": low, "highest": high}
    says = f"{seen.loss:.3g}, expected {expected:.3g}, allowed {low:.3g} to {high:.3g}"
    if low <= seen.loss <= high:
        return passed(says, **numbers)
    remedy = (
        "The first scores are too large: scale the images (task.mean, task.std) or the last layer's first weights."
        if seen.loss > high
        else "The network knows the answers: look for targets among its inputs, or for a loss that is scaled down."
    )
    return failed(says, remedy, **numbers)


def dead_units(context: Context) -> Finding:
    """No layer of rectifiers is zero for all samples."""
    layers = context.once(look).rectifiers
    if not layers:
        return not_applicable("the network has no rectifiers")
    dead = {name: int((~layer.alive).sum()) for name, layer in layers.items()}
    sizes = {name: layer.alive.numel() for name, layer in layers.items()}
    samples = min(layer.samples for layer in layers.values())
    silent = [name for name in layers if dead[name] == sizes[name]]
    numbers = {"dead": dead, "units": sizes, "samples": samples}
    if silent:
        return failed(
            f"the rectifiers after {_names(silent)} are zero on all {samples} samples",
            "Nothing can be learned through them: look at that layer's bias and first weights.",
            **numbers,
        )
    return passed(f"{sum(dead.values())} of {sum(sizes.values())} are zero on all {samples} samples", **numbers)


def gradients(context: Context) -> Finding:
    """Every trainable parameter gets a gradient that is not zero throughout."""
    wanted = [name for name, parameter in context.task().model.named_parameters() if parameter.requires_grad]
    if not wanted:
        return failed("no parameter is trainable", "Look at init.freeze and at requires_grad in the network.")
    if context.once(look).detached:
        return failed(
            "the loss has no gradient: it is detached from the network",
            "Look for detach(), item(), numpy(), no_grad() or argmax between the parameters and the loss.",
            without=wanted,
        )
    largest = dict(context.once(look).gradients)
    if not all(largest.get(name) for name in wanted):
        # Where a layer begins at zero, the ones before it get their gradient after a step.
        train(context, context.task(rate=1e-3), context.first_batches, callbacks=[Gradients(largest)])
    none = [name for name in wanted if name not in largest]
    zero = [name for name in wanted if largest.get(name) == 0.0]
    numbers = {"parameters": len(wanted), "without": none, "zero": zero}
    if none:
        remedy = "They don't enter the loss: use them in forward, take them out, or look for detach()."
        return failed(f"{_names(none)} get{'s' if len(none) == 1 else ''} none", remedy, **numbers)
    if zero:
        remedy = "Look for a factor of zero, a saturated unit or a cut behind them."
        return failed(f"that of {_names(zero)} is zero in every batch", remedy, **numbers)
    return passed(f"all {len(wanted)} parameters get one", **numbers)


def _names(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
