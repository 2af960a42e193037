"""`dltk compare` on runs that were made for it, and its answers to what cannot be compared."""

import csv
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dltk.run.protocol import Protocol
from tests.cli.conftest import Command
from tests.compare.generated import lines, made

HARD = np.random.default_rng(1).random(500)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds at each of two rates, of which the second is better, and one run that crashed."""
    folder = tmp_path_factory.mktemp("compared")
    for rate, share in ((0.01, 0.3), (0.1, 0.2)):
        for seed in range(3):
            changes = {"optimizer.lr": rate, "train.seed": seed, "launch.devices": 1 + seed}
            kept = HARD + np.random.default_rng(seed).normal(0, 0.03, 500) < share
            made(folder / "runs", f"small/lr={rate},seed={seed}", changes, wrong=kept)
    made(folder / "runs", "broken/first", {"optimizer.lr": 1.0}, log=lines(50), done=False)
    return folder


@pytest.fixture(autouse=True)
def inside(runs: Path) -> Iterator[None]:
    """From the folder that holds `runs`."""
    before = Path.cwd()
    os.chdir(runs)
    yield
    os.chdir(before)


def test_the_terminal_shows_settings_results_differences_curves_and_cost(dltk: Command) -> None:
    said = dltk("compare", "small")
    assert said.code == 0, said.err
    order = (
        "6 runs in 2 groups|optimizer.lr|without effect on the result: launch.devices|test/top1_error|"
        "it is better than|(step 300, chosen by val/top1_error), single_crop|500 samples tell|less that of lr=0.01|"
        "verdict|seed: paired t|would show four times in five|val/top1_error   step 100 to 400|█|device time"
    ).split("|")
    places = [said.out.find(words) for words in order]
    assert -1 not in places, dict(zip(order, places, strict=True))
    assert places == sorted(places)
    assert re.search(r"lr=0\.1 +20 min +7 min +3 +1000 +25 %", said.out)


def test_what_programs_read(dltk: Command) -> None:
    answer = dltk("compare", "small", "--json").json
    assert [one["verdict"] for one in answer["differences"]] == ["better"]
    assert [group["name"] for group in answer["groups"]] == ["lr=0.01", "lr=0.1"]
    assert answer["curves"]["axis"] == "step"
    assert len(answer["curves"]["train/loss"][0]["mean"]) == 200
    rows = list(csv.DictReader(dltk("compare", "small", "broken", "--csv").out.splitlines()))
    assert len(rows) == 7
    assert [row["status"] for row in rows] == ["done"] * 6 + ["crashed" if rows[-1]["status"] == "crashed" else "lost"]
    assert rows[-1]["test/top1_error (best checkpoint, single_crop)"] == ""
    assert {row["optimizer.lr"] for row in rows} == {"0.1", "0.01", "1.0"}


def test_tables_for_papers(dltk: Command) -> None:
    said = dltk("compare", "small", "--metric", "test/top1_error", "--markdown").out
    rows = [line.split("|") for line in said.splitlines() if line.startswith("| lr=")]
    assert [row[1].strip() for row in rows] == ["lr=0.01", "lr=0.1", "lr=0.1"]
    assert "**" not in rows[0][3]
    assert re.fullmatch(r" \*\*[\d.]+ ± [\d.]+\*\* ", rows[1][3])
    said = dltk("compare", "small", "--metric", "test/top1_error", "--latex").out
    assert r"lr=0.1 & 3 & \textbf{" in said
    assert r"test/top1\_error" in said
    assert r"$\pm$" in said


def test_a_picture(dltk: Command, tmp_path: Path) -> None:
    said = dltk("compare", "small", "broken/first", "--png", tmp_path / "deep" / "a.png", "--axis", "hours")
    assert said.code == 0, said.err
    with Image.open(tmp_path / "deep" / "a.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] == 1800
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    said = dltk("compare", "small", "--png", tmp_path / "a.xyz")
    assert (said.code, "End its name in .png" in said.err) == (2, True)


def test_runs_are_named_in_many_ways(dltk: Command) -> None:
    def names(*words: str) -> list[str]:
        groups = dltk("compare", *words, "--json").json["groups"]
        return sorted(run["run"] for group in groups for run in group["runs"])

    every = [f"small/lr={rate},seed={seed}" for rate in (0.01, 0.1) for seed in range(3)]
    for words in (
        ["small"],
        ["runs/small"],
        ["small/*"],
        ["*seed=*"],
        ["runs/small/*"],
        ["small", "small/lr=0.1,seed=0"],
    ):
        assert names(*words) == every, words
    assert names("runs") == ["broken/first", *every]
    assert names("lr=0.1,*") == every[3:]
    assert names("runs/small/lr=0.1,seed=0") == every[3:4]


def test_mistakes_are_one_line_each(dltk: Command) -> None:
    for words, line in (
        (["smal"], "smal: no run has this name. Did you mean 'small'?"),
        (["small/lr=0.1,sed=0"], "small/lr=0.1,sed=0: no run has this name. Did you mean 'small/lr=0.1,seed=0'?"),
        (["nothing*"], "nothing*: no run has this name. `dltk runs` lists the runs."),
        (["small", "--by", "optimiser.lr"], "--by: no run has a setting 'optimiser.lr'. Did you mean 'optimizer.lr'?"),
        (["small", "--json", "--csv"], "--csv: cannot be combined with '--json'. Ask for one of them."),
    ):
        said = dltk("compare", *words)
        assert (said.code, said.out, said.err) == (2, "", f"{line}\n")
    assert "Did you mean 'broken/first'?" in dltk("runs", "broken/fist").err


def test_what_cannot_be_read_is_named_and_left_out(dltk: Command, tmp_path: Path) -> None:
    newer, torn = made(tmp_path, "small/newer", {"optimizer.lr": 3}), made(tmp_path, "small/torn", {"optimizer.lr": 4})
    made(tmp_path, "small/good")
    (newer.path / "run.json").write_text('{"format": 9}')
    (torn.path / "recipe.yaml").write_text("model: {architecture: [")
    said = dltk("compare", tmp_path, "--json")
    assert [run["run"] for group in said.json["groups"] for run in group["runs"]] == ["small/good"]
    assert "9 is newer than this dltk, which reads 1. Update dltk." in said.err
    assert "torn/recipe.yaml: cannot be read" in said.err
    for one in (newer, torn):
        said = dltk("compare", one.path)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    (tmp_path / "empty").mkdir()
    said = dltk("compare", tmp_path / "empty")
    assert said.err == f"{tmp_path / 'empty'}: holds no run. `dltk runs` lists the runs.\n"


@pytest.mark.long
def test_unrelated_files_are_passed_over_quickly(dltk: Command, tmp_path: Path) -> None:
    made(tmp_path / "runs", "small/good")
    for number in range(100_000):
        os.close(os.open(tmp_path / "runs" / "small" / str(number), os.O_CREAT))
    began = time.perf_counter()
    said = dltk("compare", tmp_path / "runs", "--json")
    assert len(said.json["groups"]) == 1
    assert time.perf_counter() - began < 10


def test_translations_are_tested_by_sacrebleus_own(dltk: Command, tmp_path: Path) -> None:
    from sacrebleu.metrics import BLEU

    generator = np.random.default_rng(1)
    references = [" ".join(generator.choice(list("abcdefgh"), 12)) for _ in range(80)]
    for name, share in (("bad", 0.5), ("good", 0.1), ("like", 0.1)):
        said = [" ".join("x" if generator.random() < share else word for word in text.split()) for text in references]
        run = made(
            tmp_path, f"small/{name}", {"optimizer.lr": {"bad": 1, "good": 2, "like": 3}[name]},
            metrics={"test/bleu": BLEU().corpus_score(said, [references]).score},
        )  # fmt: skip
        path = run.predictions_path("test", str(Protocol("greedy")))
        rows = zip(references, said, strict=True)
        path.write_text(
            "".join(
                json.dumps({"key": f"{at:03}", "hypothesis": made, "reference": right, "exact": made == right}) + "\n"
                for at, (right, made) in enumerate(rows)
            )
        )
        summary = run.summary() or {}
        summary["evaluation"]["protocol"] = "greedy"
        run.write_summary(summary)
    found = {one["group"]: one for one in dltk("compare", tmp_path, "--baseline", "good", "--json").json["differences"]}
    assert [found[name]["verdict"] for name in ("lr=1", "lr=3")] == ["worse", "not shown"]
    assert found["lr=1"]["samples"]["p"] < 0.01 < 0.05 < found["lr=3"]["samples"]["p"]
    assert found["lr=1"]["samples"]["test"] == "sacreBLEU's paired bootstrap of good and bad"
    assert found["lr=1"]["count"] == 80


def test_the_papers_bleu_is_tested_on_moses_tokens(dltk: Command, tmp_path: Path) -> None:
    from dltk.bleu import translation_scores

    generator = np.random.default_rng(1)
    references = [" ".join(generator.choice(list("abcdefgh"), 12)) + ", n'est-ce pas?" for _ in range(80)]
    for name, share, language in (("bad", 0.5, "fr"), ("good", 0.1, "fr"), ("other", 0.1, None)):
        said = [" ".join("x" if generator.random() < share else word for word in text.split()) for text in references]
        scores, signatures = translation_scores(said, references, language)
        run = made(tmp_path, f"small/{name}", {"optimizer.lr": share, "data.name": name},
                   metrics={"test/bleu": scores["bleu"]})  # fmt: skip
        rows = zip(references, said, strict=True)
        run.predictions_path("test", "multibleu_tok").write_text(
            "".join(
                json.dumps({"key": f"{at:03}", "hypothesis": made, "reference": right, "exact": made == right}) + "\n"
                for at, (right, made) in enumerate(rows)
            )
        )
        summary = run.summary() or {}
        summary["evaluation"] |= {"protocol": "multibleu_tok", "signatures": signatures}
        run.write_summary(summary)
    answer = dltk("compare", tmp_path, "--baseline", "good", "--json").json
    found = {one["group"]: one for one in answer["differences"]}
    (bad,) = [one for name, one in found.items() if "bad" in name]
    assert (bad["verdict"], bad["count"]) == ("worse", 80)
    (other,) = [one for name, one in found.items() if "other" in name]
    assert other["samples"] is None  # sacrebleu's own BLEU is another measure
