"""Calling something of a task through the call of the module around it, whose hooks gather parameters or reduce."""

from collections.abc import Callable
from typing import Any

from torch import nn

from dltk.tasks.task import Task


def redirected(around: nn.Module, task: Task, call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """The result of `call`, made where the task's `forward` would be.

    Args:
        around: what is called: the wrapper around the task, or the task itself.
        task: stands in for `forward` once.
        call: what runs instead.
        arguments: of the call; they pass through the wrapper.
        more: likewise, by name.
    """

    def forward(*given: Any, **named: Any) -> Any:
        del task.forward  # before the call: it may want the task's own
        return call(*given, **named)

    task.forward = forward  # type: ignore[method-assign]
    try:
        return around(*arguments, **more)
    finally:
        task.__dict__.pop("forward", None)
