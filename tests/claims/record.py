"""Train recipes as their claims say and write down what came out: `python tests/claims/record.py recipes/*.yaml`.

`results.json` beside this file holds for each recipe the values by seed, their mean and 95 % interval, and how they
were made: command, commit, machine, the settings that can change the result and their hash. It may also hold what other
protocols gave of the same runs, and by how much that differs. Finished seeds are not trained again.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from dltk import recipe
from dltk.compare.claims import same_recipe
from dltk.run.claim import Claim, verdict
from dltk.run.folder import RunFolder
from dltk.run.protocol import Protocol
from dltk.run.statistics import mean_interval

RESULTS = Path(__file__).with_name("results.json")
DLTK = (sys.executable, "-m", "dltk")


def results() -> dict[str, dict[str, Any]]:
    """What has been recorded, by the recipe's name."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def counted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a checked recipe that can change its result, by dotted key."""
    every = recipe.difference({}, settings)
    return {key: value for key, _, value in every if not recipe.harmless(key) and key != "train.seed"}


def begins_with(path: Path) -> list[Path]:
    """The runs whose weights a recipe begins with that are not there, where a recipe of ours trains them."""
    found = [Path(entry["from"]) for entry in recipe.load(path, check_model=False).settings["init"]]
    return [
        source for source in found if not source.exists() and path.with_name(f"{source.parent.name}.yaml").is_file()
    ]


def out_of_date(record: Mapping[str, Any], loaded: recipe.Recipe) -> list[str]:
    """The settings in which a recipe is no longer the one that was measured; see `recipe.changed`.

    One that is known today not to change results does not count.
    """
    keys = [key for key, *_ in recipe.changed(record["settings"], loaded)]
    return sorted(key for key in keys if not recipe.harmless(key) and key != "train.seed")


def recorded(path: Path, seeds: int, runs_dir: Path, place: Sequence[str]) -> dict[str, Any]:
    """Train what is missing of a recipe's seeds, and before them the runs that they begin with; the record."""
    for source in begins_with(path):
        where = [source.parent.name, f"run={source.name}", f"runs_dir={source.parent.parent}", "log.wandb=disabled"]
        subprocess.run([*DLTK, "train", *where, *place], check=True)
    arguments = ["train", path.as_posix(), "--seeds", str(seeds), *place, f"runs_dir={runs_dir}", "log.wandb=disabled"]
    subprocess.run([*DLTK, *arguments], check=True)
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


# Other protocols ----------------------------------------------------------------------------------------------------


def otherwise(
    record: Mapping[str, Any], claim: Claim, runs: Path, protocol: str, place: Sequence[str]
) -> dict[str, Any]:
    """What a protocol gives of the runs of a record, which lie in `runs`.

    Args:
        record: of the recipe.
        claim: of the recipe.
        runs: the recipe's run folders, seed-0 and so on.
        protocol: how samples are seen, such as `ten_crop`; with `+ensemble=N` the first N seeds are averaged.
        place: settings of the place.
    """
    asked = Protocol.read(protocol)
    if asked is None:
        raise SystemExit(f"there is no protocol '{protocol}'")
    alone, scales = replace(asked, scales=(), members=1), ",".join(map(str, asked.scales))
    how = ["--split", claim.split, "--checkpoint", claim.checkpoint, "--protocol", str(alone)]
    how += ["--scales", scales] if scales else []
    values = {}
    for members in groups(list(record["values"]), asked.members):
        folders = [str(runs / f"seed-{seed}") for seed in members]
        command = [*DLTK, "evaluate", *folders, *how, "--json", *place]
        answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        values[",".join(members)] = answer["metrics"][claim.metric]
    return compared(values, record["values"]) | {"command": " ".join(["dltk evaluate RUN", *how])}


def groups(seeds: Sequence[str], members: int) -> list[tuple[str, ...]]:
    """The seeds that are measured together: each alone, or so many of them once."""
    if members > len(seeds):
        raise SystemExit(f"an ensemble of {members} needs as many seeds, there are {len(seeds)}")
    return [(seed,) for seed in seeds] if members == 1 else [tuple(seeds[:members])]


def compared(values: Mapping[str, float], own: Mapping[str, float]) -> dict[str, Any]:
    """Values by seed beside those of the claim's protocol, and the mean of what they differ by, seed by seed.

    Args:
        values: by seed; those of an ensemble by its seeds, such as `0,1,2`, beside which the mean of theirs stands.
        own: by seed.
    """
    apart = [value - fmean(own[seed] for seed in key.split(",")) for key, value in values.items()]
    mean, low, high = mean_interval(apart)
    return {
        "values": dict(values),
        "mean": fmean(values.values()),
        "difference": mean,
        "low": low,
        "high": high,
    }


# Tables -------------------------------------------------------------------------------------------------------------


def table() -> str:
    """The results as the README shows them."""
    rows = ["| recipe | metric | measured | claim | seeds | seconds a seed |", "|---|---|---|---|---|---|"]
    for name, one in sorted(results().items()):
        claim = recipe.load(name, check_model=False).settings["claim"]
        claimed = f"{claim['value']:g} ± {claim['tolerance']:g}"
        measured = between(one["mean"], one["low"])
        rows.append(
            f"| `{name}` | {one['metric']} | {measured} | {claimed} | {len(one['values'])} | {one['seconds']:.0f} |"
        )
    return "\n".join([*rows, *protocol_rows(results())]) + "\n"


def protocol_rows(records: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What other protocols gave of the same runs, as a second table, if any."""
    measured = [(name, protocol, one) for name in sorted(records) for protocol, one in others(records[name])]
    if measured:
        yield from ("", "The same runs by other protocols, and the difference to the one above, paired by seed:", "")
        yield from ("| recipe | protocol | measured | difference |", "|---|---|---|---|")
    for name, protocol, one in measured:
        difference = between(one["difference"], one["low"], sign="+")
        yield f"| `{name}` | {protocol} | {one['mean']:.2f} | {difference} |"


def others(record: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The other protocols of a record, in the order in which they were asked for."""
    return list(record.get("protocols", {}).items())


def between(mean: float, low: float | None, sign: str = "") -> str:
    """A mean and half the width of its interval, which a single seed does not give."""
    return f"{mean:{sign}.2f}" if low is None else f"{mean:{sign}.2f} ± {mean - low:.2f}"


def main() -> None:
    """Record every recipe given; those whose claim is a paper's stay untested."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, help="how many; default: as many as the claim needs")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--place", action="append", default=[], help="a setting of the place, e.g. launch.threads=1")
    parser.add_argument(
        "--protocol",
        action="append",
        default=[],
        help="also measure the runs by it, e.g. ten_crop or single_crop+ensemble=3; default: those recorded before",
    )
    given = parser.parse_args()
    claims = {path: recipe.load(path, check_model=False).settings["claim"] for path in given.recipes}
    ours = {path: Claim(**claim) for path, claim in claims.items() if claim and claim["source"] == "measured"}
    for path in claims:
        if path not in ours:
            print(f"{path}: no claim of ours, left untested")
    if ours and subprocess.run([*DLTK, "validate", "--data", *map(str, ours)]).returncode:
        raise SystemExit(2)  # before the first is trained, and not when it is some recipe's turn
    for path, claim in ours.items():
        before = results().get(path.stem, {})
        record = recorded(path, given.seeds or claim.seeds, given.runs, given.place)
        asked = given.protocol or list(before.get("protocols", {}))
        runs = given.runs / path.stem
        found = {one: otherwise(record, claim, runs, one, given.place) for one in asked}
        record |= {"protocols": found} if found else {}
        RESULTS.write_text(json.dumps(dict(sorted((results() | {path.stem: record}).items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
