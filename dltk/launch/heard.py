"""At which frames of an utterance a network hears each label of its transcript.

By CTC: Graves, Fernández, Gomez, Schmidhuber, "Connectionist temporal classification", ICML (2006), figures 1 and 3. By
a transducer: Graves, "Sequence transduction with recurrent neural networks", arXiv 1211.3711 (2012), figure 2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.assemble import build_data
from dltk.data.dataset import keys_of
from dltk.data.splits import SPLITS
from dltk.errors import LaunchError
from dltk.layers.alignments import ctc_alignment, transducer_alignment
from dltk.run.folder import RunFolder
from dltk.tasks.transcription import Transcription

# Shapes: t frames, u labels of the transcript.


@dataclass(frozen=True)
class Heard:
    """An utterance, what it says, and when.

    Args:
        key: of the utterance.
        labels: names of the labels of its transcript (u).
        weights: given the transcript (u, t), how likely each frame is at each label, the rest being between them; of a
            transducer how likely each label is written at each frame, which sums to 1 over the frames.
        text: what the network writes.
        reference: the transcript.
    """

    key: str
    labels: list[str]
    weights: NDArray[np.float64]
    text: str
    reference: str

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        told = {"key": self.key, "labels": self.labels, "transcript": self.text, "reference": self.reference}
        return {**told, "weights": [[round(weight, 6) for weight in row] for row in self.weights.tolist()]}


def hear(folder: RunFolder, task: Transcription, key: str, width: int) -> Heard:
    """Lay the transcript of an utterance of the run's data along its frames.

    Args:
        folder: the run.
        task: its task, with weights.
        key: of the utterance, in any part.
        width: of the beam by which the network writes; 1 takes what is likeliest at each moment.

    Raises:
        LaunchError: there is no such utterance, or it has fewer frames than its labels need.
    """
    data = build_data(folder.recipe)
    found = _found(data, key)
    if found is None:
        remedy = "`dltk evaluate` keeps the keys beside the transcripts."
        raise LaunchError(folder.path, "draw … alignment", f"there is no utterance '{key}'", remedy)
    task.eval().require(data.part("train"))
    assert task.alphabet is not None, "the data have labels"
    frames, target = torch.as_tensor(found["frames"])[None], torch.as_tensor(found["target"])  # (1, t, x), (u,)
    lengths = torch.tensor([frames.shape[1]])
    with torch.no_grad():
        if task.transduces:
            weights = transducer_alignment(task.model(frames, lengths, target[None])[0], target)  # (t, u)
        else:
            weights = ctc_alignment(torch.log_softmax(task.model(frames, lengths)[0], 1), target)[:, 1::2]
    if not bool(weights.isfinite().all()):
        what = f"'{key}' has {frames.shape[1]} frames, too few for its {len(target)} labels"
        raise LaunchError(folder.path, "draw … alignment", what, "Choose another.")
    task.width = width
    ((best,),) = task.transcribe(frames, lengths)
    names = [task.alphabet.names[label - 1] for label in target.tolist()]
    return Heard(key, names, weights.T.numpy(), task.alphabet.text(best.labels), task.alphabet.text(target.tolist()))


def _found(data: Any, key: str) -> Any:
    """The utterance of a key; None where no part has it."""
    for split in reversed(SPLITS):
        part = data.part(split)
        number = next((at for at, one in enumerate(keys_of(part, split)) if one == key), None)
        if number is not None:
            return part[number]
    return None
