"""What the command line makes of runs that transcribe: training, evaluation by beams, alignments."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from dltk.assemble import build_data, build_task, load
from dltk.cli import run
from dltk.data.pack import pack
from dltk.errors import RecipeError
from dltk.recipe import load as load_recipe
from dltk.run.folder import RunFolder
from tests.cli.conftest import SIGNALS, Command

SHORT = [
    "train.epochs=2",
    "train.validate_every=null",
    "data.utterances=60",
    "model.hidden_size=16",
    "log.wandb=disabled",
]

TRANSCRIBING = ("blstm", "transducer")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network that learns by CTC, a transducer, and a net of next labels, each trained for some steps."""
    place = tmp_path_factory.mktemp("transcripts") / "runs"
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for recipe in ("blstm_tones", "transducer_tones", "next_label_tones"):
        assert run(["train", recipe, *SHORT, f"runs_dir={place}", "run=short"]) == 0
    for number, handler in before.items():
        signal.signal(number, handler)
    return {name: place / f"{name}_tones" / "short" for name in ("blstm", "transducer", "next_label")}


def test_they_are_evaluated_by_beams_and_their_transcripts_kept(dltk: Command, runs: dict[str, Path]) -> None:
    for path in (runs[kind] for kind in TRANSCRIBING):
        for protocol in ("greedy", "beam=3"):
            said = dltk("evaluate", path, "--protocol", protocol, "--json")
            assert said.code == 0, said.err
            assert said.json["protocol"] == protocol
            assert said.json["samples"] == 12
            kept = [json.loads(line) for line in Path(said.json["predictions"]).read_text().splitlines()]
            assert [row["key"] for row in kept] == sorted(f"test/{number}" for number in range(12))
            assert set("".join(row["reference"] for row in kept)) <= set("ABCDEFGH ")
            right = sum(row["hypothesis"] == row["reference"] for row in kept)
            assert said.json["metrics"]["test/exact_match"] == pytest.approx(100 * right / 12)
    said = dltk("evaluate", runs["blstm"], "--protocol", "beam")
    assert said.code == 2
    assert "--protocol: beam names no way to transcribe. Write greedy, or beam with a width" in said.err
    said = dltk("predict", runs["blstm"], "some.wav")
    assert said.code == 2
    assert "predict: was trained on 'tones', which are no recordings" in said.err


def test_when_labels_are_heard_is_drawn(dltk: Command, runs: dict[str, Path], tmp_path: Path) -> None:
    folder = RunFolder.open(runs["blstm"])
    sample = build_data(folder.recipe).part("test")[3]
    for kind, path in ((kind, runs[kind]) for kind in TRANSCRIBING):
        to = tmp_path / f"{kind}.svg"
        said = dltk("draw", path, "alignment", "test/3", "--to", to, "--beam", 2, "--json")
        assert said.code == 0, said.err
        assert to.read_text().startswith("<?xml")
        weights = torch.tensor(said.json["weights"])
        assert weights.shape == (len(sample["target"]), sample["length"])
        assert said.json["labels"] == ["ABCDEFGH"[label - 1] for label in sample["target"]]
        # In the order of the transcript: of CTC each label is heard for one frame at least, each frame at one place; a
        # transducer writes each label once.
        middles = (weights * torch.arange(sample["length"])).sum(1) / weights.sum(1)
        assert (middles.diff() > 0).all()
        if kind == "blstm":
            assert float(weights.sum(0).max()) <= 1 + 1e-4
            assert (weights.sum(1) > 1 - 1e-4).all()
        else:
            torch.testing.assert_close(weights.sum(1), torch.ones(len(sample["target"])), atol=1e-4, rtol=0)
        task = load(RunFolder.open(path))
        task.width = 2  # type: ignore[assignment]
        frames = torch.from_numpy(sample["frames"])[None]
        ((best,),) = task.transcribe(frames, torch.tensor([sample["length"]]))  # type: ignore[operator]
        assert said.json["transcript"] == " ".join("ABCDEFGH"[label - 1] for label in best.labels)
    said = dltk("draw", runs["blstm"], "alignment", "test/99")
    assert said.code == 2
    assert "there is no utterance 'test/99'" in said.err


def test_a_transducer_begins_with_the_layers_of_a_network_that_learnt_by_ctc(runs: dict[str, Path]) -> None:
    init = f"init=[{{from: '{runs['blstm']}', map: {{output: null}}}}]"
    said: list[str] = []
    settings = load_recipe("transducer_tones", *SHORT, "model.first_weights=0.1", init).settings
    model = build_task(settings, note=said.append).model
    trained = load(RunFolder.open(runs["blstm"])).model
    for name, weight in trained.layers.state_dict().items():
        assert torch.equal(weight, model.layers.state_dict()[name])
    (line,) = said
    assert "init: 4 tensors from" in line
    assert "missing there: prediction.inputs" in line


def begun(runs: dict[str, Path], *more: str, whole: bool = False) -> tuple[torch.nn.Module, list[str]]:
    """The network with which the pre-trained transducer's recipe begins, and what is said of it."""
    settings = load_recipe("transducer_tones_pretrained", *SHORT, *more).settings
    sources = zip(settings["init"], (runs["blstm"], runs["next_label"]), strict=True)
    init = [
        {**entry, "from": str(path), **({"map": None} if whole and at else {})}
        for at, (entry, path) in enumerate(sources)
    ]
    said: list[str] = []
    return build_task({**settings, "init": init}, note=said.append).model, said


def weights(model: torch.nn.Module, part: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.startswith(part)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_transducer_begins_with_two_networks_that_learnt_before_it(runs: dict[str, Path]) -> None:
    model, said = begun(runs)
    plain = build_task(load_recipe("transducer_tones_pretrained", *SHORT, "init=[]").settings).model
    heard, labels = (load(RunFolder.open(runs[name])).model for name in ("blstm", "next_label"))
    assert same(weights(model, "layers"), weights(heard, "layers"))
    assert same(weights(model, "prediction"), weights(labels, "prediction"))
    for part in ("reading", "of_frame", "of_labels", "output"):  # what was above them is left there
        assert same(weights(model, part), weights(plain, part))
    assert [line.partition(" from ")[0] for line in said] == ["init: 4 tensors", "init: 4 tensors"]
    assert "missing there: layers.0.inputs" in said[1]


def test_with_all_of_the_other_it_begins_with_what_that_tells_of_the_next_label(runs: dict[str, Path]) -> None:
    model, _ = begun(runs, whole=True)
    net: Any = model
    labels = load(RunFolder.open(runs["next_label"])).model
    target = torch.tensor([[3, 1, 8, 2]])
    wanted = torch.softmax(labels(target), 2)[0]  # (u + 1, k + 1)
    state = net.start(1)
    for u, before in enumerate([0, *target[0].tolist()]):
        known, state = net.step(torch.tensor([before]), state)
        found = torch.softmax(net.join(torch.zeros_like(known), known), 1)[0]
        torch.testing.assert_close(found, wanted[u])


def test_networks_of_other_sizes_are_refused_by_name(runs: dict[str, Path]) -> None:
    with pytest.raises(RecipeError) as raised:
        begun(runs, "model.hidden_size=24")
    assert str(raised.value).startswith(
        f"init: of {runs['blstm']}, layers.0.inputs is 2 × 10 × 64, not 2 × 10 × 96, layers.0.recurrent is "
    )
    assert "Set the sizes of `model` to those there" in str(raised.value)


def test_a_net_of_next_labels_is_measured_and_transcribes_nothing(dltk: Command, runs: dict[str, Path]) -> None:
    said = dltk("evaluate", runs["next_label"], "--json")
    assert said.code == 0, said.err
    assert said.json["samples"] == 12
    found = said.json["metrics"]
    assert found["test/perplexity"] == pytest.approx(np.exp(found["test/token_loss"]))
    with np.load(said.json["predictions"]) as kept:
        counted = (kept["targets"] > 0).sum(1) + 1  # and the end
        assert (counted == (kept["scores"] > 0).sum(1)).all()
        assert kept["scores"].sum() / len(counted) == pytest.approx(found["test/loss"], rel=1e-5)
    said = dltk("predict", runs["next_label"], "some.wav")
    assert said.code == 2
    assert "predict: tells the next label of a transcript. A transducer begins with its weights" in said.err


def wav(path: Path, samples: np.ndarray, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


@pytest.mark.usefixtures("signals")
def test_recordings_of_one_s_own_are_transcribed(dltk: Command, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sounds = {f"{number:02d}": 0.1 * random.normal(size=3000 + 200 * number) for number in range(12)}
    made = {name: wav(tmp_path / "made" / f"{name}.wav", sound).read_bytes() for name, sound in sounds.items()}
    samples = ({"__key__": name, "wav": data, "txt": b"one two"} for name, data in made.items())
    pack(samples, tmp_path / "data" / "set", name="set", kind="audio")
    small = ["data.folder=set", "model.hidden_size=8", "train.epochs=1", "train.validate_every=null", "batch.global=4"]
    place = [f"data_dir={tmp_path / 'data'}", f"runs_dir={tmp_path / 'runs'}", "run=first", "launch.threads=1"]
    wide = "model.first_weights=1.0"  # so that the network writes something
    said = dltk("train", "blstm_prompts", *small, wide, *place, "claim=null", "log.wandb=disabled")
    assert said.code == 0, said.err
    path = tmp_path / "runs" / "blstm_prompts" / "first"

    # One speaker's recordings of the test, as files: what an evaluation writes of them.
    kept = dltk("evaluate", path, "--protocol", "beam=3", "--json").json["predictions"]
    rows = [json.loads(line) for line in Path(kept).read_text().splitlines()]
    files = [wav(tmp_path / "mine" / f"{row['key']}.wav", sounds[row["key"]]) for row in rows]
    shutil.rmtree(tmp_path / "data")  # the data need not be there
    said = dltk("predict", path, *files, "--beam", 3, "--n-best", 2, "--json")
    assert said.code == 0, said.err
    assert [one["transcripts"][0]["text"] for one in said.json] == [row["hypothesis"] for row in rows]
    assert any(row["hypothesis"] for row in rows)
    for one in said.json:
        assert [best["score"] for best in one["transcripts"]] == sorted(
            (best["score"] for best in one["transcripts"]), reverse=True
        )
        assert one["prepared"][-1] == f"normalised over the {len(rows)} of its folder"
    assert len(said.json[0]["transcripts"]) == 2

    twice = np.repeat(np.stack([sounds["03"], np.zeros(3600)], 1), 2, axis=0)
    other = wav(tmp_path / "other" / "stereo.flac", twice, 16_000)
    said = dltk("predict", path, other)
    assert said.code == 0, said.err
    assert "stereo.flac: 0.5 s, mean of 2 channels, 16,000 Hz, resampled to 8,000, normalised over itself" in (
        " ".join(said.out.split())
    )
    (tmp_path / "text.wav").write_text("no recording")
    for arguments, told in (
        ([], "FILES: are missing. Give recordings."),
        ([other, "--n-best", 2], "--n-best: 2 of a beam of 1. Set --beam to at least 2."),
        ([wav(tmp_path / "empty.wav", np.zeros(0))], "empty.wav: has no samples. Give a recording of speech"),
        ([tmp_path / "text.wav"], "text.wav: is no recording ("),
        ([tmp_path / "none.wav"], "none.wav: cannot be read (No such file or directory). Give a recording."),
        ([tmp_path], "cannot be read (Is a directory). Give a recording."),
        ([other, "--top", 3], "--top: is of classes of pictures, and this one's is transcription. Leave it out."),
        ([other, "--score"], "--score: is of runs whose task is translation, and this one's is transcription."),
    ):
        said = dltk("predict", path, *arguments)
        assert said.code == 2, said
        assert told in said.err
        assert len(said.err.strip().splitlines()) == 1
