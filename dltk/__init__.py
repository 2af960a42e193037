"""dltk: a distributed multi-GPU training toolkit for the architectures of "Deep learning" (Nature, 2015).

The public names load what they need when they are first used, so that importing dltk is quick.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "build", "load", "runs", "train"]

_HOMES = {
    "build": "dltk.assemble:build",
    "load": "dltk.assemble:load",
    "train": "dltk.launch.here:train",
    "runs": "dltk.run.folder:find_runs",
}

if TYPE_CHECKING:
    from dltk.assemble import build, load
    from dltk.launch.here import train
    from dltk.run.folder import find_runs as runs


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dltk' has no attribute '{name}'")
    import importlib

    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
