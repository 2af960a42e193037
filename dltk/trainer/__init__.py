"""From settings to a Lightning Trainer: callbacks, checkpoints, precision, strategy."""
