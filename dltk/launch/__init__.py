"""From a recipe to a running training: on this machine, process by process."""
