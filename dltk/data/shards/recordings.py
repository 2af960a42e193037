"""Recordings and their transcripts in WebDataset shards, as a data set of a recipe: `dltk data pack audio`.

A sample is a file wav, flac or sph, and a txt. Its speaker is the folder in its key; recordings that lie in none are
one speaker's. Frames are normalised by the mean and the standard deviation of each speaker's frames in the part; these
are kept in the set's folder `vocabularies`, beside the numbers of frames, by which batches are cut.
"""

# Shapes: n recordings, t frames, x numbers of a frame, u labels, p speakers, s frames that are read together.

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.data.filterbank import Filterbank
from dltk.data.kept import FOLDER, keep
from dltk.data.labels import FOLDED, NAMES, Kind, labels
from dltk.data.plan import Numbers
from dltk.data.shards.fields import decoded
from dltk.data.shards.opened import OpenedShards
from dltk.data.sound import EXTENSIONS, MAX_SECONDS, decode
from dltk.data.utterances import Frames, utterance
from dltk.errors import DataError, SourceError


class Recordings:
    """One split of a set of shards that hold recordings and their transcripts.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        folder: the set's, under data_dir.
        labels: what is transcribed: letters, or the phones of TIMIT.
        rate: samples in a second; other recordings are resampled.
        bands: of the mel scale; a frame has three times one more (see dltk.data.filterbank).
        window: seconds that a frame hears.
        step: seconds from one frame to the next.
        together: frames that the network reads as one, which makes it faster; 1 as in the paper.
        cache: folder on a local disk where shards of a slow source are kept; also for local ones if given.
        cache_gb: room that it may take, in units of 10^9 bytes.
        lanes: shards read at the same time.
        shuffle: samples permuted together in a lane.
        max_seconds: a longer recording is not decoded, and counts as damaged.
        allow_pipe: fetch by the commands (`pipe:`) that the index names.

    Raises:
        DataError: there is no such set or split, a setting is impossible, or the cache cannot hold the lanes.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        folder: str,
        labels: Kind = "letters",
        rate: int = 16_000,
        bands: int = 40,
        window: float = 0.025,
        step: float = 0.010,
        together: int = 1,
        cache: str | None = None,
        cache_gb: float = 200.0,
        lanes: int = 64,
        shuffle: int = 4096,
        max_seconds: float = MAX_SECONDS,
        allow_pipe: bool = False,
    ) -> None:
        if together < 1:
            raise DataError("", "data.together", f"{together} frames", "Set at least 1.")
        self._opened = OpenedShards(
            folder, split, data_dir, cache=cache, cache_gb=cache_gb, lanes=lanes, window=shuffle, allow_pipe=allow_pipe
        )
        self.index = self._opened.index
        self.shard_sizes: Numbers = self.index.counts
        self.index_hash, self.keys, self.lanes, self.window = self.index.hash, self.index.keys, lanes, shuffle
        self.fetches = self._opened.cached
        self.kind, self.rate, self.together, self.max_seconds = labels, rate, together, max_seconds
        self.classes, self.spells = NAMES[labels], labels == "letters"
        self.folded: Mapping[str, str] = FOLDED if labels == "phones" else {}
        self.filterbank = Filterbank(rate, bands=bands, window=window, step=step)
        settings = json.dumps([labels, rate, bands, window, step, together, max_seconds]).encode()
        self._settings = hashlib.sha256(settings).hexdigest()[:16]

    def __len__(self) -> int:
        return self.index.total

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One utterance: `frames` float32 (t, x), `length`, and `target` int64 (u,), labels from 1."""
        samples, target = self._heard(number)
        mean, deviation = self._speakers[_speaker(self.keys[number])]  # each (x,)
        return utterance(_joined((samples - mean) / deviation, self.together), target)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Labels and frames of each recording (n, 2)."""
        return self._facts[0]

    def fetch_ahead(self, numbers: Numbers) -> None:
        """Have the shards of samples (b,) fetched into the cache while others are read."""
        self._opened.fetch_ahead(numbers)

    def _heard(self, number: int) -> tuple[Frames, list[int]]:
        """The frames of a recording before they are normalised (t, x), and its labels."""
        fields, key = self._opened.reader.fields(number), self._opened.key(number)
        sound = next((data for name, data in fields.items() if name.rpartition(".")[2] in EXTENSIONS), None)
        if sound is None or "txt" not in fields:
            what = f"has no {'txt' if sound is not None else 'wav, flac or sph'}, only {', '.join(fields) or 'nothing'}"
            raise DataError(key, "", what, "Pack recordings: `dltk data pack audio`.")
        try:
            samples = decode(sound, self.rate, self.max_seconds)
            target = labels(str(decoded("txt", fields["txt"])), self.kind)
        except DataError as error:
            raise DataError(key, error.key, error.what, error.remedy) from None
        return self.filterbank(torch.from_numpy(samples)).numpy(), target

    @functools.cached_property
    def _speakers(self) -> dict[str, tuple[Frames, Frames]]:
        _, names, moments = self._facts
        return {name: (mean, deviation) for name, (mean, deviation) in zip(names, moments, strict=True)}

    @functools.cached_property
    def _facts(self) -> tuple[NDArray[np.int32], list[str], Frames]:
        """Lengths (n, 2), the speakers, and the mean and the standard deviation of each one's frames (p, 2, x)."""
        path = self._opened.folder / FOLDER / f"frames-{self.index_hash[:16]}-{self._settings}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as kept:
                return kept["lengths"], kept["speakers"].tolist(), kept["moments"]
        lengths = np.ones((len(self), 2), dtype=np.int32)  # of a damaged one: it will be counted when it is read
        sums: dict[str, NDArray[np.float64]] = {}
        for number in range(len(self)):
            found = sums.setdefault(_speaker(self.keys[number]), np.zeros((3, self.filterbank.size)))
            try:
                frames, target = self._heard(number)
            except SourceError:
                raise
            except DataError:
                continue
            lengths[number] = len(target), -(-len(frames) // self.together)
            exact = frames.astype(np.float64)
            found += np.stack([exact.sum(0), (exact**2).sum(0), np.full(exact.shape[1], len(exact))])
        moments = np.stack([_moments(one) for one in sums.values()]).astype(np.float32)
        about: dict[str, Any] = {"lengths": lengths, "speakers": np.array(list(sums)), "moments": moments}
        keep(path, lambda file: np.savez(file, allow_pickle=False, **about))
        return lengths, list(sums), moments


def _speaker(key: str) -> str:
    return key.rpartition("/")[0]


def _moments(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of numbers, of their squares, and of ones (3, x) to means and standard deviations (2, x)."""
    total, squares, count = sums[0], sums[1], np.maximum(sums[2], 1)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return np.stack([mean, np.where(deviation > 0, deviation, 1)])


def _joined(frames: Frames, together: int) -> Frames:
    """Frames (t, x), so many of them as one (ceil(t / s), s x); the last is repeated where they do not go up."""
    missing = -len(frames) % together
    return np.pad(frames, ((0, missing), (0, 0)), mode="edge").reshape(-1, together * frames.shape[1])
