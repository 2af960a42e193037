"""The kernel machine goes through the same loop: gathered whole, also over a restart, and fitted once."""

from pathlib import Path

import pytest
import torch

import dltk
from dltk.errors import ExitCode
from dltk.launch import here
from dltk.run.folder import RunFolder

RECIPE = ["kernel_digits", "batch.global=100", "checkpoint.every_steps=4", "log.wandb=disabled"]


def support_vectors(run: RunFolder) -> torch.Tensor:
    state = dltk.load(run, "last").model.state_dict()
    return torch.cat([value.double().flatten() for value in state.values()])


def test_a_restart_forgets_no_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dltk.train(*RECIPE, f"runs_dir={tmp_path}", "run=whole")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trip_once.py").write_text(
        "from lightning import Callback\n\nTRIPPED = []\n\n\nclass Trip(Callback):\n"
        "    def on_train_batch_start(self, trainer, module, batch, index):\n"
        "        if index == 6 and not TRIPPED:\n"
        "            TRIPPED.append(index)\n"
        "            raise RuntimeError('tripped')\n"
    )
    folder, changed = here.open_run(
        [*RECIPE, f"runs_dir={tmp_path}", "run=tripped", "train.callbacks=[{name: 'trip_once:Trip'}]"]
    )
    with pytest.raises(RuntimeError, match="tripped"):
        here.attempt(folder, changed)
    assert folder.checkpoints.newest() == folder.checkpoints.path / "step-00000004"
    assert here.attempt(folder, changed) is ExitCode.DONE
    assert torch.equal(support_vectors(folder), support_vectors(whole))
