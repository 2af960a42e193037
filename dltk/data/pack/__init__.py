"""Packing: samples of any source into shuffled shards with their index."""

from dltk.data.pack.packing import Item, Packing, Settings, pack
from dltk.data.pack.sources import arrays, audio, class_folders, text

__all__ = ["Item", "Packing", "Settings", "arrays", "audio", "class_folders", "pack", "text"]
