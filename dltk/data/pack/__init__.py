"""Packing: samples of any source into shuffled shards with their index."""

from dltk.data.pack.packing import Item, Packing, Settings, TooManyDamaged, pack
from dltk.data.pack.sources import aligned, arrays, audio, class_folders, pair, text

__all__ = [
    "Item",
    "Packing",
    "Settings",
    "TooManyDamaged",
    "aligned",
    "arrays",
    "audio",
    "class_folders",
    "pack",
    "pair",
    "text",
]
