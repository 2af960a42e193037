"""The run folder: what a training leaves behind, and how it goes on after any interruption."""
