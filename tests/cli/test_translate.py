"""A translator as a user has it: trained, lengthened, evaluated, given lines; and every mistake in one line."""

import io
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dltk import recipe
from dltk.assemble import build_data, build_task, load
from dltk.bleu import translation_scores
from dltk.cli import lines, scores
from dltk.cli.alignment import draw_alignment
from dltk.launch.aligned import Aligned
from dltk.launch.evaluation import restored
from dltk.layers import tokens
from dltk.run.folder import RunFolder
from dltk.tasks.decoding import Decoding
from dltk.tasks.translation import Translation
from tests.cli.conftest import Command, Said, Trained

SMALL = (
    *("data.pairs=300", "train.epochs=null", "train.steps=6", "train.validate_every=6", "log.every_steps=3"),
    *("model.hidden_size=12", "model.embedding_size=8", "log.wandb=disabled", "launch.threads=1", "run=first"),
)
METRIC = "train.metrics=[{name: 'torchmetrics.classification:MulticlassAccuracy', num_classes: 3}]"
TEXT = "one\n\ntwo thousand, three hundred\n"


@pytest.fixture(scope="session")
def translator(start: Command, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small RNNsearch after some steps; what it says is nonsense."""
    runs = tmp_path_factory.mktemp("translator") / "runs"
    said = start("train", "rnnsearch_number_names", *SMALL, f"runs_dir={runs}", cwd=runs.parent)
    assert said.code == 0, said.err
    return Trained(runs, runs / "rnnsearch_number_names" / "first", said)


@pytest.fixture(scope="session")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network without attention that has learnt nothing."""
    sizes = ("model.hidden_size=10", "model.embedding_size=8", "model.num_layers=2", "data.pairs=300")
    wanted = recipe.load("seq2seq_number_names", *sizes)
    run = RunFolder.create(
        tmp_path_factory.mktemp("lstm"), "seq2seq", wanted.settings, run="a", text=recipe.freeze(wanted)
    )
    task = build_task(wanted.settings)
    assert isinstance(task, Translation)
    task.require(build_data(wanted.settings).part("train"))
    vocabularies = [one.to_plain() for one in task.required_vocabularies()]
    run.checkpoints.write(0, {"state_dict": task.state_dict(), "vocabularies": vocabularies})
    return run.path


@pytest.fixture(scope="session")
def ending(start: Command, translator: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same a little longer: what it says is short enough to end."""
    runs = tmp_path_factory.mktemp("ending")
    said = start(
        "train", "--fork", translator.path, "train.steps=40", "optimizer.lr=0.02", "run=first",
        f"runs_dir={runs}", cwd=runs,
    )  # fmt: skip
    assert said.code == 0, said.err
    return Trained(runs, runs / "rnnsearch_number_names" / "first", said)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.en"
    path.write_text(TEXT)
    return path


def test_a_training_says_what_it_measures(translator: Trained) -> None:
    run = RunFolder.open(translator.path)
    line = next(entry for entry in run.metrics.read() if "train/loss" in entry)
    assert {"train/perplexity", "train/token_error", "train/gradient_norm"} <= set(line)
    for side in ("source_tokens", "target_tokens"):
        rate = line["time/samples_per_second"] * line[f"train/{side}"]
        assert line[f"time/{side}_per_second"] == pytest.approx(rate, rel=1e-6)
    summary = run.summary() or {}
    assert {"val/bleu", "test/bleu", "test/chrf", "test/exact_match", "test/perplexity"} <= set(summary["metrics"])
    assert summary["evaluation"]["protocol"] == "greedy"
    assert "≤ 2,048 tokens" in translator.said.out


def test_an_evaluation_keeps_the_sentences_and_says_how_it_scored(dltk: Command, translator: Trained) -> None:
    answer = dltk("evaluate", translator.path, "--json").json
    assert (answer["split"], answer["protocol"]) == ("test", "greedy")
    assert set(answer["signatures"]) == {"bleu", "chrf"}
    kept = [json.loads(line) for line in Path(answer["predictions"]).read_text().splitlines()]
    assert len(kept) == answer["samples"]
    assert [set(one) for one in kept[:1]] == [{"key", "hypothesis", "reference", "exact", "source_tokens"}]
    assert [one["key"] for one in kept] == sorted(one["key"] for one in kept)
    exact = 100 * sum(one["exact"] for one in kept) / len(kept)
    assert answer["metrics"]["test/exact_match"] == pytest.approx(exact)
    lengths = dict(zip((one["key"] for one in kept), (one["source_tokens"] for one in kept), strict=True))
    data = build_data(RunFolder.open(translator.path).recipe).part("test")
    assert lengths == {f"{key}": int(of[0]) - 1 for key, of in zip(data.keys, data.lengths, strict=True)}
    shown = dltk("evaluate", translator.path).out
    assert "bleu: sacrebleu nrefs:1|case:mixed" in shown
    assert "each sample's translation:" in shown


def test_a_beam_is_evaluated_on_any_number_of_processes_alike(start: Command, translator: Trained) -> None:
    ask = ("evaluate", translator.path, "--split", "val", "--protocol", "beam=3", "--json")
    one, two = (start(*ask, *more, cwd=translator.runs.parent) for more in ((), ("launch.devices=2",)))
    assert (one.code, two.code) == (0, 0), one.err + two.err
    assert one.json["protocol"] == "beam=3"
    assert one.json["samples"] == two.json["samples"]
    assert two.json["metrics"] == pytest.approx(one.json["metrics"], rel=1e-6)
    assert sum(row["samples"] for row in one.json["by_length"]) == one.json["samples"]
    assert two.json["by_length"] == one.json["by_length"]
    picture = Path(one.json["picture"])
    assert picture == Path(one.json["predictions"]).parent / "val-beam=3.lengths.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_several_are_shown_side_by_side(dltk: Command, translator: Trained, lstm: Path, tmp_path: Path) -> None:
    ask = ("--protocol", "beam=2", "launch.devices=1")
    alone = [dltk("evaluate", path, *ask, "--json").json for path in (translator.path, lstm)]
    both = dltk("evaluate", translator.path, lstm, *ask, "--to", tmp_path, "--json").json
    assert (both["protocol"], both["samples"], both["metrics"]) == ("beam=2", alone[0]["samples"], {})
    assert [one["run"] for one in both["members"]] == [str(translator.path), str(lstm)]
    for one, member in zip(alone, both["members"], strict=True):
        assert member == {"run": member["run"]} | {
            name: value for name, value in one.items() if name not in ("split", "protocol", "samples")
        }
    assert both["picture"] == str(tmp_path / "test-beam=2.lengths.png")
    assert Path(both["picture"]).stat().st_size > 10_000
    shown = dltk("evaluate", translator.path, lstm, *ask).out
    (row,) = (line.split() for line in shown.splitlines() if line.startswith(" test/perplexity"))
    assert row[1:] == [f"{one['metrics']['test/perplexity']:.4g}" for one in alone]


@pytest.mark.usefixtures("signals")
def test_a_claim_of_the_papers_bleu_is_measured(dltk: Command, tmp_path: Path) -> None:
    claim = "claim={metric: test/bleu, protocol: multibleu_tok=2, value: 50, tolerance: 50, seeds: 1}"
    said = dltk("train", "rnnsearch_number_names", *SMALL, "train.steps=2", "train.validate_every=2", claim,
                f"runs_dir={tmp_path}")  # fmt: skip
    assert said.code == 0, said.err
    assert "PASS: test/bleu" in said.out
    run = RunFolder.open(tmp_path / "rnnsearch_number_names" / "first")
    evaluation = (run.summary() or {})["evaluation"]
    assert evaluation["protocol"] == "multibleu_tok=2"
    assert evaluation["signatures"]["bleu"].endswith("|lang:fr")
    kept = [json.loads(line) for line in Path(evaluation["predictions"]).read_text().splitlines()]
    texts = [one["hypothesis"] for one in kept], [one["reference"] for one in kept]
    assert evaluation["metrics"]["test/bleu"] == translation_scores(*texts, "fr")[0]["bleu"]


def test_the_papers_bleu_needs_sacremoses(dltk: Command, translator: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    ask = ("evaluate", translator.path, "--protocol", "multibleu_tok", "launch.devices=1")
    assert one_line(dltk(*ask)) == "sacremoses: is not installed. Install the extra: dltk[text].\n"


def test_lines_of_files_and_of_standard_input(
    dltk: Command, translator: Trained, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file = dltk("predict", translator.path, text)
    assert from_file.code == 0, from_file.err
    assert len(from_file.out.splitlines()) == 3
    assert from_file.out.splitlines()[1] == ""
    assert "3 lines" in from_file.err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert dltk("predict", translator.path).out == from_file.out
    twice = dltk("predict", translator.path, text, text)
    assert twice.out == from_file.out * 2


def test_several_translations_of_each_line(dltk: Command, translator: Trained, text: Path) -> None:
    said = dltk("predict", translator.path, text, "--beam", 4, "--n-best", 2)
    rows = [row.split(" ||| ") if row else [] for row in said.out.split("\n")[:-1]]
    assert [row[0] for row in rows if row] == ["1", "1", "3", "3"]
    answers = [
        json.loads(line)
        for line in dltk("predict", translator.path, text, "--beam", 4, "--n-best", 2, "--json").out.splitlines()
    ]
    assert [one["line"] for one in answers] == [1, 2, 3]
    assert [len(one["translations"]) for one in answers] == [2, 0, 2]
    assert [one["text"] for one in answers[2]["translations"]] == [row[1] for row in rows if row[:1] == ["3"]]


def test_several_runs_together(dltk: Command, translator: Trained, text: Path) -> None:
    alone = dltk("predict", translator.path, text).out
    assert dltk("predict", translator.path, text, "--with", translator.path).out == alone


def test_an_ensemble_is_measured_as_one(dltk: Command, translator: Trained, lstm: Path, tmp_path: Path) -> None:
    ask = ("evaluate", translator.path, lstm, "--together", "--protocol", "beam=2", "launch.devices=1")
    answer = dltk(*ask, "--to", tmp_path, "--json").json
    assert answer["protocol"] == "beam=2+ensemble=2"
    assert set(answer["metrics"]) == {"test/exact_match", "test/bleu", "test/chrf"}, "a loss would be one network's"
    assert answer["predictions"] == str(tmp_path / "test-beam=2+ensemble=2.jsonl")
    kept = map(json.loads, Path(answer["predictions"]).read_text().splitlines())
    found = {one["key"]: one["hypothesis"] for one in kept}
    runs = [RunFolder.open(path) for path in (translator.path, lstm)]
    first, second = [restored(run, run.recipe, "best").eval() for run in runs]
    first.decoding, vocabulary = Decoding(width=2), first.required_vocabularies().target
    part, expected, alone = build_data(runs[0].recipe).part("test"), {}, {}
    for number, key in enumerate(part.keys):
        source = torch.as_tensor(part[number]["source"])[None]  # (1, s)
        expected[key] = vocabulary.decode(first.translate(source, [second])[0][0].tokens)
        alone[key] = vocabulary.decode(first.translate(source)[0][0].tokens)
    assert found == expected
    assert found != alone
    shown = dltk(*ask).out
    assert shown.startswith("ensemble: test, beam=2+ensemble=2")
    assert "each sample's translation" not in shown, "it belongs to none of the runs"
    assert "bleu: sacrebleu nrefs:1" in shown


def test_samples_of_lines_are_the_same_again(
    dltk: Command, translator: Trained, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ("predict", translator.path, text, "--n-best", 3)
    first = dltk(*ask, "--protocol", "sample=1,5").out
    assert [row.split(" ||| ")[0] for row in first.splitlines() if row] == ["1"] * 3 + ["3"] * 3
    monkeypatch.setattr(lines, "CHUNK", 1)
    assert dltk(*ask, "--protocol", "sample=1,5").out == first
    assert dltk(*ask, "--protocol", "sample=1,6").out != first
    widths = [dltk(*ask, *more).out for more in (("--protocol", "beam=4"), ("--beam", 4))]
    assert widths[0] == widths[1]
    answer = dltk("evaluate", translator.path, "--protocol", "sample=0.8,3", "--json").json
    assert answer["protocol"] == "sample=0.8,3"
    assert Path(answer["predictions"]).name == "test-sample=0.8,3.jsonl"
    assert Path(answer["picture"]).name == "test-sample=0.8,3.lengths.png"


def n_best(dltk: Command, translator: Trained, text: Path, *more: Any) -> dict[tuple[str, str], float]:
    """Source and translation to the score, of what a beam finds and ends."""
    said = dltk("predict", translator.path, text, "--beam", 4, "--n-best", 4, "--json", *more)
    answers = [json.loads(line) for line in said.out.splitlines()]
    return {
        (answer["source"], one["text"]): one["score"]
        for answer in answers
        for one in answer["translations"]
        if one["finished"] and "<unk>" not in one["text"]  # text that is read back as the same tokens
    }


@pytest.mark.parametrize("more", [(), ("--normalise", 1.0)])
def test_given_translations_score_as_a_beam_says(
    dltk: Command, ending: Trained, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[Any, ...]
) -> None:
    expected = n_best(dltk, ending, text, *more)
    assert len(expected) >= 4
    pairs = "".join(f"{source}\t{target}\n" for source, target in expected)
    path = tmp_path / "pairs.tsv"
    path.write_text(pairs)
    said = dltk("predict", ending.path, path, "--score", *more)
    assert said.code == 0, said.err
    rows = [row.split("\t") for row in said.out.splitlines()]
    assert [(source, target) for source, target, _ in rows] == list(expected)
    assert [float(score) for *_, score in rows] == pytest.approx(list(expected.values()), abs=2e-4)
    assert f"{len(expected)} pairs" in said.err
    monkeypatch.setattr(scores, "CHUNK", 1)
    assert dltk("predict", ending.path, path, "--score", *more).out == said.out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(pairs.encode())))
    answers = dltk("predict", ending.path, "--score", "--json", *more).out.splitlines()
    assert [json.loads(line)["score"] for line in answers] == pytest.approx(list(expected.values()), abs=1e-5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"two deux", "pairs.tsv:3: 0 tabs, where one parts source and target. Write SOURCE<TAB>TARGET, one pair"),
        (b"two\tdeux\t-1.5", "pairs.tsv:3: 2 tabs, where one parts source and target. Write SOURCE<TAB>TARGET, one"),
        (b"", "pairs.tsv:3: 0 tabs, where one parts source and target. Write SOURCE<TAB>TARGET, one pair a line."),
        (b" \tdeux", "pairs.tsv:3: there is no source before the tab. Write SOURCE<TAB>TARGET, one pair a line."),
        (b"two\tdeu\xff", "pairs.tsv:3: byte 8 is not UTF-8. Convert the file with iconv."),
        (b"two\t" + b"deux " * 21, "pairs.tsv:3: 21 tokens, of which 20 can be read. Split the pair, or leave it out."),
    ],
)
def test_a_line_that_is_no_pair_is_named_after_those_before_it(
    dltk: Command, translator: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes, message: str
) -> None:
    monkeypatch.setattr(scores, "LONGEST", 20)
    path = tmp_path / "pairs.tsv"
    path.write_bytes(b"one\tun\none\t\n" + bad + b"\nthree\ttrois\n")
    said = dltk("predict", translator.path, path, "--score")
    assert f"{tmp_path}/{message}" in one_line(said)
    assert [row.split("\t")[:2] for row in said.out.splitlines()] == [["one", "un"], ["one", ""]]


def test_words_that_no_vocabulary_has_are_counted(dltk: Command, translator: Trained, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("one zebra\tun zèbre\n")
    assert "1 pairs, 3 target tokens" in (said := dltk("predict", translator.path, path, "--score")).err
    assert "2 tokens are not in the vocabulary" in said.err


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    path = tmp_path / "en-fr.probs"
    path.write_text("one un -0.1\ntwo deux -0.5\ntwo paire -2\nthousand\tmille\t-0.2\n")
    return path


def test_only_candidates_are_written(dltk: Command, translator: Trained, text: Path, dictionary: Path) -> None:
    few = dltk("predict", translator.path, text, "--candidates", 5, "--beam", 3, "--n-best", 3, "--json")
    assert few.code == 0, few.err
    written = "".join(one["text"] for line in few.out.splitlines() for one in json.loads(line)["translations"])
    vocabulary = load(RunFolder.open(translator.path), "best").required_vocabularies().target  # type: ignore[attr-defined]
    assert set(written.replace("<unk>", "")) <= {" ", *vocabulary.decode([4])}
    all_of_them = dltk("predict", translator.path, text, "--candidates", 64, "--beam", 3).out
    assert all_of_them == dltk("predict", translator.path, text, "--beam", 3).out
    assert dltk("predict", translator.path, text, "--candidates", 5, "--dictionary", dictionary).code == 0


def test_unknown_words_are_replaced_by_what_they_are_aligned_with(
    dltk: Command, translator: Trained, tmp_path: Path, dictionary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ignorant(wanted: lines.Wanted) -> Any:
        tasks = original(wanted)
        for task in tasks:
            task.model.output.bias.data[tokens.UNK] = 1e4  # knows no word at all

            def third(source: Tensor, words: Tensor) -> Tensor:
                """The first word looks at the third, the second at the second, all others at the first."""
                places = torch.arange(words.shape[1]).neg().add(2).clamp(min=0)
                return F.one_hot(places, source.shape[1])[None].float()

            task.model.alignment = third
        return tasks

    original = lines.loaded
    monkeypatch.setattr(lines, "loaded", ignorant)
    path = tmp_path / "text.en"
    path.write_text("two zebras thousand\n\n")
    plain = dltk("predict", translator.path, path).out.splitlines()
    assert plain[0].split()[:4] == ["<unk>"] * 4
    copied = dltk("predict", translator.path, path, "--replace-unknown").out.splitlines()
    assert copied[0].split()[:4] == ["thousand", "zebras", "two", "two"]
    said = dltk("predict", translator.path, path, "--replace-unknown", "--dictionary", dictionary, "--beam", 2)
    assert said.out.splitlines()[0].split()[:4] == ["mille", "zebras", "deux", "deux"]
    assert said.out.splitlines()[1] == ""


def test_bad_lines_are_borne_and_counted(
    dltk: Command, translator: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 20)
    path = tmp_path / "bad"
    path.write_bytes(b"one \xff\xfe two\n" + b"one " * 10_000 + b"\n" + "漢字 ￭ \x00\n".encode())
    said = dltk("predict", translator.path, path)
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 3
    assert "1 cut off after 20 tokens" in said.err
    assert "1 not in UTF-8" in said.err


def test_a_run_goes_on_and_forks_with_its_vocabularies(start: Command, translator: Trained, tmp_path: Path) -> None:
    forked = start(
        "train", "--fork", translator.path, "train.steps=8", "run=longer", f"runs_dir={tmp_path}", cwd=tmp_path
    )  # fmt: skip
    assert forked.code == 0, forked.err
    assert (RunFolder.open(tmp_path / "rnnsearch_number_names" / "longer").summary() or {})["step"] == 8


def test_where_it_looked_is_drawn(dltk: Command, translator: Trained, text: Path, tmp_path: Path) -> None:
    sentence, picture = "two thousand, three hundred", tmp_path / "looked.png"
    for beam in (1, 3):
        said = dltk("draw", translator.path, "alignment", sentence, "--beam", beam, "--json", "--to", picture)
        assert said.code == 0, said.err
        drawn = said.json
        assert drawn["source"] == ["two", "thousand", ",", "three", "hundred", "<end>"]
        assert drawn["translation"] == dltk("predict", translator.path, text, "--beam", beam).out.splitlines()[2]
        weights = np.array(drawn["weights"])
        assert weights.shape == (len(drawn["target"]), 6)
        assert weights.sum(1) == pytest.approx(np.ones(len(weights)), abs=1e-4)
        pixels = np.asarray(Image.open(picture).convert("L"))
        assert min(pixels.shape) > 300
    assert dltk("draw", translator.path, "alignment", "one").out.strip() == str(translator.path / "alignment.png")


def test_squares_are_as_light_as_their_weights() -> None:
    weights = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]], np.float32)
    sheet = draw_alignment(Aligned(["a", "<end>"], ["b", "c", "<end>"], weights, "b c", -1.0), "net")
    sheet.canvas.draw()
    pixels = np.asarray(sheet.canvas.buffer_rgba())  # type: ignore[attr-defined]
    axes = sheet.axes[0]
    for row, column in itertools.product(range(3), range(2)):
        x, y = axes.transData.transform((column, row))
        assert pixels[len(pixels) - round(y), round(x), 0] == pytest.approx(255 * weights[row, column], abs=1)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "<end>"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "<end>"]


def test_words_on_a_plane(dltk: Command, translator: Trained, tmp_path: Path) -> None:
    picture = tmp_path / "words.png"
    drawn = dltk("draw", translator.path, "words", "--side", "target", "--count", 12, "--json", "--to", picture).json
    assert drawn["side"] == "target"
    assert drawn["names"][:3] == [word.strip("￭") for word in words_of(translator, 1)[:3]]
    assert len(drawn["pca"]) == len(drawn["tsne"]) == len(drawn["names"]) == 12
    assert picture.stat().st_size > 10_000
    given = dltk("draw", translator.path, "words", "three", "two", "seven", "--json", "--to", picture).json
    assert given["names"] == ["three", "two", "seven"]


def words_of(translator: Trained, side: int) -> list[str]:
    checkpoints = RunFolder.open(translator.path).checkpoints
    newest = checkpoints.newest()
    assert newest is not None
    return [str(word) for word in checkpoints.load(newest)["vocabularies"][side]["words"]]


def test_sentences_on_a_plane(dltk: Command, lstm: Path, tmp_path: Path) -> None:
    path = tmp_path / "numbers.en"
    path.write_text("two\n\ntwo\nthree hundred\n")
    drawn = dltk("draw", lstm, "sentences", path, "--json", "--to", tmp_path / "sentences.png").json
    assert drawn["names"] == ["two", "two", "three hundred"]
    assert drawn["pca"][0] == pytest.approx(drawn["pca"][1], abs=1e-6)
    assert drawn["pca"][0] != pytest.approx(drawn["pca"][2], abs=1e-6)
    assert dltk("draw", lstm, "sentences", path).out.strip() == str(lstm / "sentences.png")


def one_line(said: Said) -> str:
    assert said.code == 2, said.out + said.err
    assert len(said.err.strip().splitlines()) == 1, said.err
    return said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["evaluate", "RUN", "--protocol", "ten_crop"],
            "ten_crop is of classes of pictures, and this is a translation",
        ),
        (
            ["evaluate", "RUN", "--protocol", "beam"],
            "beam does not name the width of one beam. Write greedy, or",
        ),
        (
            ["evaluate", "RUN", "--protocol", "multibleu_tok=2,3"],
            "multibleu_tok=2,3 does not name the width of one beam.",
        ),
        (["evaluate", "RUN", "--report"], "--report: is of classes, and 'translation' gives none"),
        (["evaluate", "RUN", "RUN"], "RUN: the same run is named twice. Name each once."),
        (["evaluate", "RUN", "DIGITS"], "task: translates nothing, and other runs do. Evaluate it by itself."),
        (["predict", "RUN", "no_such_file"], "no_such_file: cannot be read (No such file or directory)"),
        (["predict", "RUN", "--n-best", "3"], "--n-best: 3 of a beam of 1. Set --beam to at least 3."),
        (["predict", "RUN", "--protocol", "beam=2", "--beam", "3"], "--beam: 3 beside --protocol beam=2. Leave one of"),
        (["predict", "RUN", "--protocol", "beem=2"], "--protocol: there is no 'beem=2'. Did you mean 'beam'?"),
        (["predict", "RUN", "--protocol", "sample=0"], "--protocol: sample=0 names no temperature from 0.01 to 100."),
        (["evaluate", "DIGITS", "--protocol", "sample"], "sample is of translations, and Classification gives none."),
        (
            ["predict", "RUN", "--score", "--beam", "3"],
            "--score: given translations are scored, no beam looks for others.",
        ),
        (["predict", "RUN", "--score", "--candidates", "9"], "--score: given translations are scored, by all words as"),
        (["predict", "RUN", "--dictionary", "x"], "--dictionary: is of use for candidate lists and for unknown words."),
        (
            ["predict", "RUN", "--candidates", "9", "--dictionary", "no_such_file"],
            "no_such_file: cannot be read (No such file or directory). Give a file of word pairs.",
        ),
        (["evaluate", "RUN", "--together"], "--together: is of several translators, and one is named. Name several."),
        (
            ["predict", "DIGITS", "--score"],
            "--score: is of runs whose task is translation, and this one's is",
        ),
        (["predict", "DIGITS"], "FILES: are missing. Give pictures; lines of text are for runs that translate."),
        (["predict", "RUN", "--with", "DIGITS"], "Classification does not translate. Give a run that does."),
        (
            ["draw", "DIGITS", "alignment", "one"],
            "alignment: Classification does not translate. Choose",
        ),
        (["draw", "LSTM", "alignment", "one"], "alignment: 'seq2seq' has no attention, it reads a sentence into one"),
        (["draw", "RUN", "alignment", " "], "draw … alignment: the sentence has 0 tokens. Give one of 1 to 200."),
        (
            ["draw", "RUN", "sentences", "f"],
            "sentences: 'rnnsearch' does not read a sentence into one vector. Choose a",
        ),
        (["draw", "LSTM", "sentences", "none.txt"], "none.txt: cannot be read (No such file or directory)."),
        (["draw", "LSTM", "sentences", "TEXT"], "draw … sentences: there are 2. Give 3 to 5,000."),
        (["draw", "LSTM", "sentences", "TEXT", "b"], "draw … sentences: takes no more, 'b' given."),
        (["draw", "RUN", "words", "one", "two"], "draw … words: there are 2. Give 3 to 5,000."),
        (
            ["draw", "RUN", "words", "eleventy"],
            "words: 'eleventy' is not in the source vocabulary. Leave it out",
        ),
        (["draw", "RUN", "words", "one two"], "words: 'one two' is 2 tokens. Leave it out"),
        (["draw", "RUN", "words", "one", "--count", "5"], "--count: is of the most frequent words, and words are"),
        (["draw", "DIGITS", "words"], "words: Classification has no vectors of words. Choose a run of word vectors"),
        (["draw", "RUN", "alignment"], "draw … alignment: needs the SENTENCE to translate, or the KEY of"),
        (["evaluate", "DIGITS", "--protocol", "beam=2"], "beam is of translations, and Classification gives none."),
    ],
)
def test_mistakes(
    dltk: Command, translator: Trained, lstm: Path, trained: Trained, text: Path, arguments: list[str], message: str
) -> None:
    places = {"RUN": translator.path, "DIGITS": trained.path, "LSTM": lstm, "TEXT": text}
    assert message in one_line(dltk(*[places.get(word, word) for word in arguments]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.target_vocab_size=65"], "model.target_vocab_size: 64 is less than the 65 tokens that the data may"),
        (["data.name=digits"], "'digits' has image, target; task 'translation' needs source"),
        (["claim={metric: test/top1_error, value: 1, tolerance: 1}"], "'test/top1_error' is not measured."),
        (["batch.tokens=5"], "batch.tokens: 5 are fewer than the"),
        ([METRIC], "they read class scores, and task 'translation' gives none"),
    ],
)  # fmt: skip
def test_mistakes_in_a_recipe(dltk: Command, settings: list[str], message: str, tmp_path: Path) -> None:
    sources: list[Any] = ["rnnsearch_number_names", "data.pairs=300", *settings, f"runs_dir={tmp_path}"]
    assert message in one_line(dltk("train", *sources))
