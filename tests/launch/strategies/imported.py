"""What each process that trains would take seconds to import: one does it, and the others are forked from it."""

import gc
import importlib

import lightning  # noqa: F401
import torchvision  # noqa: F401

import dltk.launch.ensemble  # noqa: F401
import tests.launch.strategies.pool  # noqa: F401
from dltk.trainer.strategies import zero

zero.imported("cpu")
importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")  # when it first sees an optimiser
gc.freeze()  # DeepSpeed looks for cycles when it begins: not through all of these
