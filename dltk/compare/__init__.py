"""Comparing runs from their folders alone: what differs, whether the results differ by more than chance, and the cost.

`seen` reads a run, `columns` and `brief` its metrics, `groups` puts seeds together, `results` and `differences` say
what came out, `curves` lays the courses side by side, `claims` judges what recipes claim, `comparison` is all of it at
once, `listing` the runs in brief. Nothing here imports torch, and nothing of a run folder is executed.
"""
