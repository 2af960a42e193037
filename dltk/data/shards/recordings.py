"""Recordings and their transcripts in WebDataset shards, as a data set of a recipe: `dltk data pack audio`.

A sample is a file wav, flac or sph, and a txt. Its speaker is the folder in its key; recordings that lie in none are
one speaker's. Frames are normalised by the mean and the standard deviation of each speaker's frames in the part; these
are kept in the set's folder `vocabularies`, beside the numbers of frames, by which batches are cut.
"""

# Shapes: n recordings, t frames, x numbers of a frame, u labels, p speakers.

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltk.data.front_end import FrontEnd, moments, sums_of
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
        self._opened = OpenedShards(
            folder, split, data_dir, cache=cache, cache_gb=cache_gb, lanes=lanes, window=shuffle, allow_pipe=allow_pipe
        )
        self.index = self._opened.index
        self.shard_sizes: Numbers = self.index.counts
        self.index_hash, self.keys, self.lanes, self.window = self.index.hash, self.index.keys, lanes, shuffle
        self.fetches = self._opened.cached
        self.kind = labels
        self.classes, self.spells = NAMES[labels], labels == "letters"
        self.folded: Mapping[str, str] = FOLDED if labels == "phones" else {}
        self.front_end = FrontEnd(
            rate=rate, bands=bands, window=window, step=step, together=together, max_seconds=max_seconds
        )
        settings = json.dumps([labels, rate, bands, window, step, together, max_seconds]).encode()
        self._settings = hashlib.sha256(settings).hexdigest()[:16]

    @staticmethod
    def front_end_of(settings: Mapping[str, Any]) -> FrontEnd:
        """What stands between recordings and the network, of a set with these settings that need not be there."""
        names = ("rate", "bands", "window", "step", "together", "max_seconds")
        return FrontEnd(**{name: settings[name] for name in names})

    def __len__(self) -> int:
        return self.index.total

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One utterance: `frames` float32 (t, x), `length`, and `target` int64 (u,), labels from 1."""
        frames, target = self._heard(number)
        mean, deviation = self._speakers[_speaker(self.keys[number])]  # each (x,)
        return utterance(self.front_end.read(frames, mean, deviation), target)

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
            samples = decode(sound, self.front_end.rate, self.front_end.max_seconds)
            target = labels(str(decoded("txt", fields["txt"])), self.kind)
        except DataError as error:
            raise DataError(key, error.key, error.what, error.remedy) from None
        return self.front_end.heard(samples), target

    @functools.cached_property
    def _speakers(self) -> dict[str, tuple[Frames, Frames]]:
        _, names, found = self._facts
        return {name: (mean, deviation) for name, (mean, deviation) in zip(names, found, strict=True)}

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
            found = sums.setdefault(_speaker(self.keys[number]), np.zeros((3, self.front_end.filterbank.size)))
            try:
                frames, target = self._heard(number)
            except SourceError:
                raise
            except DataError:
                continue
            lengths[number] = len(target), self.front_end.count(frames)
            found += sums_of(frames)
        each = np.stack([moments(one) for one in sums.values()])
        about: dict[str, Any] = {"lengths": lengths, "speakers": np.array(list(sums)), "moments": each}
        keep(path, lambda file: np.savez(file, allow_pickle=False, **about))
        return lengths, list(sums), each


def _speaker(key: str) -> str:
    return key.rpartition("/")[0]
