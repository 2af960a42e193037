"""Recordings in shards: frames, normalisation by speaker, lengths, and what is damaged."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dltk.data.datamodule import DataModule
from dltk.data.front_end import joined
from dltk.data.pack import Settings, TooManyDamaged, pack, packing
from dltk.data.shards.recordings import Recordings
from dltk.errors import DataError

WORDS = ("zero", "one two", "three", "four five six")


def wav(samples: np.ndarray, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def packed(to: Path, count: int = 24, broken: tuple[int, ...] = (), max_bad: int = 0) -> Path:
    """Three speakers' noise, each of a loudness of their own."""
    random = np.random.default_rng(0)

    def samples():
        for number in range(count):
            speaker = number % 3
            sound = 0.02 * 3**speaker * random.normal(size=2000 + 100 * number)
            yield {
                "__key__": f"s{speaker}/{number:02d}",
                "wav": wav(sound[:0] if number in broken else sound.clip(-1, 1)),
                "txt": WORDS[number % 4].encode(),
            }

    pack(samples(), to / "set", name="set", kind="audio", settings=Settings(max_bad=max_bad))
    return to


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("recordings"))


def opened(place: Path, split: str = "train", **settings) -> Recordings:
    return Recordings(split, str(place), folder="set", rate=8000, **settings)


def test_each_speaker_s_frames_have_mean_0_and_deviation_1(place: Path) -> None:
    part = opened(place)
    by_speaker: dict[str, list[np.ndarray]] = {}
    for number in range(len(part)):
        by_speaker.setdefault(part.keys[number].partition("/")[0], []).append(part[number]["frames"])
    assert set(by_speaker) == {"s0", "s1", "s2"}
    for some in by_speaker.values():
        every = np.concatenate(some)
        assert every.shape[1] == 123
        np.testing.assert_allclose(every.mean(0), 0, atol=2e-4)
        np.testing.assert_allclose(every.std(0), 1, atol=2e-3)


def test_lengths_are_the_samples_own_and_are_kept(place: Path) -> None:
    for together in (1, 3):
        part = opened(place, together=together)
        each = [part[number] for number in range(len(part))]
        assert part.lengths.tolist() == [[len(one["target"]), one["length"]] for one in each]
        assert all(one["frames"].shape == (one["length"], 123 * together) for one in each)
        again = opened(place, together=together)
        again._heard = None  # type: ignore[assignment]  # nothing is heard again
        assert np.array_equal(again.lengths, part.lengths)
    assert len(list((place / "set" / "vocabularies").glob("frames-*.npz"))) == 2


def test_frames_are_joined_in_their_order() -> None:
    frames = np.arange(10, dtype=np.float32).reshape(5, 2)
    assert joined(frames, 2).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 9]]
    assert np.array_equal(joined(frames, 1), frames)


def test_a_batch_is_padded_behind(place: Path) -> None:
    data = DataModule(Recordings, {"folder": "set", "rate": 8000}, batch=4, epochs=1, data_dir=str(place))
    batch = next(iter(data.train_loader(0)))
    longest = int(batch["length"].max())
    assert batch["frames"].shape == (len(batch["length"]), longest, 123)
    for frames, length in zip(batch["frames"], batch["length"].tolist(), strict=True):
        assert frames[:length].any(1).all()
        assert not frames[length:].any()
    spread = [int(one["length"].max() - one["length"].min()) for one in data.train_loader(0)]
    assert max(spread) < 20  # of 23 to 53 frames: batches are cut by length


def test_a_recording_of_nothing_is_named_when_it_is_packed(tmp_path: Path) -> None:
    with pytest.raises(TooManyDamaged, match=r"1 damaged sample\(s\), 0 allowed; the first is 's0/03': has no samples"):
        packed(tmp_path, broken=(3,))
    place = packed(tmp_path, broken=(3,), max_bad=1)
    assert sum(len(opened(place, split)) for split in ("train", "val", "test")) == 23


def test_a_recording_of_nothing_is_counted_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "read", lambda *_: None)  # shards may come from elsewhere
    place = packed(tmp_path, broken=tuple(range(0, 24, 3)))
    part = opened(place)
    number = next(at for at in range(len(part)) if part.keys[at].startswith("s0/"))
    with pytest.raises(DataError, match=r"set-train-000000\.tar: s0/\d\d: has no samples"):
        part[number]
    data = DataModule(Recordings, {"folder": "set", "rate": 8000}, batch=4, epochs=1, data_dir=str(place), max_bad=8)
    weights = torch.cat([batch["weight"] for batch in data.train_loader(0)])
    assert int((weights == 0).sum()) == len(data.damage.reasons) > 0


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"wav": wav(np.zeros(800))}, "has no txt, only wav"),
        ({"txt": b"one"}, "has no wav, flac or sph, only txt"),
        ({"wav": wav(np.zeros(800)), "txt": b"1"}, "txt: has the digit 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    pack([{"__key__": f"a{at}", **files} for at in range(10)].__iter__(), tmp_path / "set", name="set", kind="audio")
    with pytest.raises(DataError, match=says):
        opened(tmp_path)[0]
    with pytest.raises(DataError, match=r"data\.together: 0 frames"):
        opened(tmp_path, together=0)
