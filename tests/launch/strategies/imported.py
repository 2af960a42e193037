"""What each process that trains would take seconds to import: one does it, and the others are forked from it."""

import lightning  # noqa: F401
import torchvision  # noqa: F401

import dltk.launch.ensemble  # noqa: F401
import tests.launch.strategies.pool  # noqa: F401
from dltk.trainer.strategies import zero

zero.imported("cpu")
