"""How several processes share a training: one file for each strategy; make.py chooses.

Each is a strategy of Lightning's with `label`, its name in a recipe, and `shards`, how it lays parameters. What it
saves is what one process would save, and it goes on from what any other saved.
"""
