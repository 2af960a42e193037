"""What strategies whose processes have parts of the weights say of them: the whole."""

from typing import Any

from lightning.pytorch.strategies import Strategy

from dltk.tasks.shards import Shards


class Joined(Strategy):
    """Saves what `shards` joins."""

    shards: Shards

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights on the first process, one tensor after another."""
        task = self.lightning_module
        assert task is not None
        parameters = dict(task.named_parameters())
        state = task.state_dict()
        for name, value in state.items():
            if name in parameters:
                state[name] = self.shards.join(parameters[name], value)
        return state
