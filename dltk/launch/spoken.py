"""A person's recordings, transcribed by a run's network."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dltk.data.front_end import FrontEnd, moments, sums_of
from dltk.data.sound import Sound, read
from dltk.data.utterances import Frames
from dltk.errors import DataError, LaunchError
from dltk.recipe import arguments_of, resolve, target_of
from dltk.run.folder import RunFolder
from dltk.tasks.transcription import Transcription

# Shapes: t frames, x numbers of a frame.

Prepared = tuple[Frames, list[str]]  # what the network reads (t, x), and what was done to the recording, in words


def front_end_of(folder: RunFolder) -> FrontEnd:
    """What stood between the recordings of a run's data and its network; the data need not be there.

    Raises:
        LaunchError: they were no recordings.
    """
    settings = folder.recipe["data"]
    found = getattr(resolve(target_of("data", settings["name"])), "front_end_of", None)
    if found is None:
        what = f"was trained on '{settings['name']}', which are no recordings"
        remedy = "Give a run of recordings; `dltk evaluate` keeps the transcripts of a run's own data."
        raise LaunchError(folder.path, "predict", what, remedy)
    made: FrontEnd = found(arguments_of("data", settings))
    return made


def prepare(files: Sequence[Path], front_end: FrontEnd) -> list[Prepared]:
    """Recordings in the form of a run's data; those that lie in one folder are taken for one speaker's.

    Raises:
        DataError: a file cannot be read, or is no recording; the first such is named.
        LaunchError: soundfile is not installed.
    """
    sounds = [opened(path, front_end.max_seconds) for path in files]
    heard = [front_end.heard(sound.at(front_end.rate)) for sound in sounds]
    speakers: dict[Path, list[Any]] = defaultdict(list)
    for path, frames in zip(files, heard, strict=True):
        speakers[path.resolve().parent].append(sums_of(frames))
    prepared = []
    for path, sound, frames in zip(files, sounds, heard, strict=True):
        own = speakers[path.resolve().parent]
        mean, deviation = moments(np.sum(own, axis=0))
        over = "itself" if len(own) == 1 else f"the {len(own)} of its folder"
        said = [*told(sound, front_end.rate), f"normalised over {over}"]
        prepared.append((front_end.read(frames, mean, deviation), said))
    return prepared


def opened(path: Path, max_seconds: float) -> Sound:
    """A recording from a file.

    Raises:
        DataError: it cannot be read, or is no recording.
        LaunchError: soundfile is not installed.
    """
    try:
        with path.open("rb") as file:
            return read(file, max_seconds)
    except OSError as error:
        raise DataError(path, "", f"cannot be read ({error.strerror or error})", "Give a recording.") from None
    except DataError as error:
        raise DataError(path, "", error.what, "Give a recording of speech as WAV or FLAC.") from None


def told(sound: Sound, rate: int) -> list[str]:
    """What a recording is, and what is done to it, in words."""
    said = [f"{len(sound.samples) / sound.rate:.1f} s"]
    said += [f"mean of {sound.channels} channels"] if sound.channels > 1 else []
    said += [f"{sound.rate:,} Hz, resampled to {rate:,}"] if sound.rate != rate else []
    return said


def transcripts(task: Transcription, recordings: Sequence[Frames], width: int, n_best: int) -> list[Any]:
    """Frames of recordings, each (t, x), to the best transcripts of each, with their scores.

    A score is the logarithm of the probability of the alignments that the search has summed: of one where the width
    is 1.

    Args:
        task: in evaluation mode.
        recordings: the frames.
        width: of the beam; 1 takes what is likeliest at each moment.
        n_best: transcripts of each, of a beam as wide or wider.

    Raises:
        LaunchError: the frames are none that the network reads.
    """
    assert task.alphabet is not None, "a checkpoint has the labels"
    task.width, text = width, task.alphabet.text
    found = []
    for frames in recordings:
        read: Tensor = torch.from_numpy(frames)[None]  # (1, t, x)
        (best,) = task.transcribe(read, torch.tensor([len(frames)]), n_best=n_best)
        found.append([{"text": text(one.labels), "score": one.score} for one in best])
    return found
