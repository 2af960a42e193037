"""Train recipes with several seeds and write down what came out: `python tests/claims/record.py recipes/*.yaml`.

`results.json` beside this file holds for each recipe the values by seed, their mean and 95 % interval, and how they
were made: command, commit, machine, the settings that can change the result and their hash. Finished seeds are not
trained again.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dltk import recipe
from dltk.cli.train import same_recipe
from dltk.run.claim import Claim, verdict
from dltk.run.folder import RunFolder

RESULTS = Path(__file__).with_name("results.json")


def results() -> dict[str, dict[str, Any]]:
    """What has been recorded, by the recipe's name."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def counted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a checked recipe that can change its result, by dotted key."""
    every = recipe.difference({}, settings)
    return {key: value for key, _, value in every if not recipe.harmless(key) and key != "train.seed"}


def out_of_date(record: Mapping[str, Any], loaded: recipe.Recipe) -> list[str]:
    """The settings in which a recipe is no longer the one that was measured.

    A setting that dltk did not have then does not count where it stands at its default, which means what was done
    before there was a choice.
    """
    then, now = record["settings"], counted(loaded.settings)
    new = {key for key in now if key not in then and loaded.origin[key] == "default"}
    return sorted(key for key in then.keys() | now.keys() if key not in new and then.get(key) != now.get(key))


def recorded(path: Path, seeds: int, runs_dir: Path, place: Sequence[str]) -> dict[str, Any]:
    """Train what is missing of a recipe's seeds; the record."""
    arguments = ["train", path.as_posix(), "--seeds", str(seeds), *place, f"runs_dir={runs_dir}", "log.wandb=disabled"]
    subprocess.run([sys.executable, "-m", "dltk", *arguments], check=True)
    chosen = recipe.load(path)
    claim = Claim(**chosen.settings["claim"])
    runs = [RunFolder.open(runs_dir / chosen.name / f"seed-{seed}") for seed in range(seeds)]
    values = same_recipe(runs[0], claim)
    judged = verdict(list(values.values()), claim)
    seconds = [(run.summary() or {})["seconds"] for run in runs]
    return {
        "recipe": recipe.recipe_hash(chosen.settings),
        "settings": counted(chosen.settings),
        "metric": claim.metric,
        "protocol": claim.protocol,
        "values": {str(seed): value for seed, value in values.items()},
        "mean": judged.mean,
        "low": judged.low,
        "high": judged.high,
        "verdict": judged.text,
        "seconds": round(sum(seconds) / len(seconds), 1),
        "command": " ".join(["dltk", *arguments[: 4 + len(place)]]),
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "machine": f"{os.cpu_count()} cores of {platform.processor() or platform.machine()}, torch {torch.__version__}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def table() -> str:
    """The results as the README shows them."""
    rows = ["| recipe | metric | measured | claim | seeds | seconds a seed |", "|---|---|---|---|---|---|"]
    for name, one in sorted(results().items()):
        claim = recipe.load(name, check_model=False).settings["claim"]
        half = (one["high"] - one["low"]) / 2
        measured = f"{one['mean']:.2f} ± {half:.2f}"
        claimed = f"{claim['value']:g} ± {claim['tolerance']:g}"
        rows.append(
            f"| `{name}` | {one['metric']} | {measured} | {claimed} | {len(one['values'])} | {one['seconds']:.0f} |"
        )
    return "\n".join(rows) + "\n"


def main() -> None:
    """Record every recipe given; those whose claim is a paper's stay untested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--place", nargs="*", default=[], help="settings of the place, such as launch.threads=1")
    given = parser.parse_args()
    for path in given.recipes:
        claim = recipe.load(path, check_model=False).settings["claim"]
        if claim is None or claim["source"] != "measured":
            print(f"{path}: no claim of ours, left untested")
            continue
        everything = results() | {path.stem: recorded(path, given.seeds, given.runs, given.place)}
        RESULTS.write_text(json.dumps(dict(sorted(everything.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
