"""`dltk evaluate`: measure a run's checkpoint, or several runs', on a part of the data.

Several are an ensemble; several translators are shown side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from dltk.cli import terminal
from dltk.cli.runs import find_run, is_run
from dltk.errors import LaunchError
from dltk.run.protocol import KINDS, Protocol, read_scales

if TYPE_CHECKING:
    from dltk.launch.measuring import Asked

commands = typer.Typer()
SHOWN_DAMAGE = 10  # samples
RUNS_HELP = (
    "Run folders, or their names RECIPE/RUN below ./runs; several are averaged, translators compared. Settings of the "
    "place may follow."
)


@commands.command(
    rich_help_panel="Measure",
    epilog="Examples:\n\ndltk train lenet5_digits run=first\n\ndltk evaluate lenet5_digits/first\n\n"
    "dltk evaluate lenet5_digits/first --split val --checkpoint last --json\n\n"
    "dltk evaluate lenet5_digits/first --report\n\n"
    "dltk train lenet5_digits --seeds 3 train.epochs=5\n\n"
    "dltk evaluate runs/lenet5_digits/seed-* --report --to ensemble\n\n"
    "dltk evaluate lenet5_digits/first launch.devices=2\n\n"
    "dltk evaluate rnnsearch_number_names/first seq2seq_number_names/first --to compared\n\n"
    "dltk evaluate runs/rnnsearch_number_names/seed-* --together --protocol beam=5\n\n"
    "With pictures in folders or shards:\n\n"
    "dltk evaluate vgg16_icons/first --protocol multi_scale_dense --scales 64,80,96\n\n"
    "Protocols: " + "; ".join(f"{name}, {what}" for name, what in KINDS.items()) + ". Probabilities are averaged, "
    "never scores. Each sample counts once, on any number of devices; all of the machine's are used.",
)
def evaluate(
    arguments: list[str] = typer.Argument(metavar="RUN… [KEY=VALUE…]", help=RUNS_HELP),
    split: Literal["train", "val", "test"] = typer.Option("test", help="The part of the data."),
    checkpoint: str = typer.Option("best", metavar="best|last|STEP", help="Which weights; best by validation."),
    protocol: str = typer.Option("single_crop", help=f"How a sample is seen: {', '.join(KINDS)}."),
    scales: str | None = typer.Option(
        None, metavar="N,N…", help="Shorter sides to which pictures are resized; default: the paper's, in proportion."
    ),
    report: bool = typer.Option(
        False, "--report", help="Also write a table of the classes, the confusions and the worst mistakes as pictures."
    ),
    to: Path | None = typer.Option(
        None,
        help="Folder of the report, of an ensemble's predictions, of the picture of several translators; default: "
        "predictions/ in the run folder.",
    ),
    together: bool = typer.Option(
        False, "--together", help="Several translators are an ensemble: the mean of their probabilities for each word."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Measure a run, or the average of several, on every sample of a split, once; several translators side by side.

    Each sample's scores are kept, or its translation.
    """
    asked = replace(_asked(arguments, split, checkpoint, _protocol(protocol, scales), to), together=together)
    if report and len(asked.runs) > 1 and to is None:
        raise LaunchError("", "--to", "is missing: an ensemble belongs to none of its runs", "Name a folder: --to DIR.")
    with terminal.only_json(as_json):
        from dltk.launch import measuring

        if report:
            _require_classifier(asked)
        result = measuring.measure(asked)
        _draw_lengths(asked, result, to)
        if report:
            result["report"] = _report(asked, result, to)
    if as_json:
        terminal.emit(result)
    else:
        _show(asked, result)


def _protocol(name: str, scales: str | None) -> Protocol:
    """The protocol that a command line names, by its name alone or with its scales."""
    found = Protocol.named(name)
    return found if scales is None else replace(found, scales=read_scales(scales))


def _asked(arguments: Sequence[str], split: str, checkpoint: str, protocol: Protocol, to: Path | None) -> "Asked":
    """Runs and settings told apart."""
    names = [text for text in arguments if "=" not in text or is_run(text)]
    if not names:
        raise LaunchError("", "RUN", "is missing", "Give a run folder; `dltk runs` lists them.")
    runs = tuple(find_run(name).path for name in names)
    from dltk.launch.measuring import Asked

    changes = tuple(text for text in arguments if text not in names)
    members = replace(protocol, members=len(runs))
    keep = to / f"{split}-{members}.npz" if to is not None and len(runs) > 1 else None
    return Asked(runs, changes, split, checkpoint, protocol, keep)


def _require_classifier(asked: "Asked") -> None:
    """A report is of classes.

    Raises:
        LaunchError: the run has none.
    """
    from dltk.catalogue import TASKS
    from dltk.run.folder import RunFolder

    task = RunFolder.open(asked.runs[0]).recipe["task"]["name"]
    row = TASKS.get(task)  # none of a task of the user's own
    if row is not None and not row.scores:
        remedy = "Leave it out; what it gives is kept beside the metrics."
        raise LaunchError("", "--report", f"is of classes, and '{task}' gives none", remedy)


def _report(asked: "Asked", result: dict[str, Any], to: Path | None) -> list[str]:
    """The files of the report."""
    from dltk.cli.report import Report
    from dltk.launch.evaluation import load_predictions
    from dltk.launch.measuring import part_of, probabilities_of

    kept = Path(result["predictions"])
    stem = kept.with_suffix("") if to is None else to / kept.with_suffix("").name
    samples = load_predictions(kept)
    title = f"{_title(asked)}, {result['split']}, {result['protocol']}"
    report = Report(samples, probabilities_of(asked, samples["scores"]), part_of(asked), asked.split, title)
    return [str(path) for path in report.write(stem)]


def _draw_lengths(asked: "Asked", result: dict[str, Any], to: Path | None) -> None:
    """Pictures of translators' BLEU by length: of each beside its sentences, of several together in the folder `to`."""
    each = [one for one in (result, *result.get("members", [])) if one.get("by_length") and one["predictions"]]
    if not each:
        return
    from dltk.cli.figures import save
    from dltk.cli.lengths import draw_lengths

    title = f"{result['split']}, {result['protocol']}"
    names = [f"{len(asked.runs)} runs together"] if asked.together else _full_names(asked.runs)
    lines = dict(zip(names, (one["by_length"] for one in each), strict=True))
    for one, (name, rows) in zip(each, lines.items(), strict=True):
        path = Path(one["predictions"]).with_suffix(".lengths.png")
        save(draw_lengths({name: rows}, f"{name}, {title}"), path)
        one["picture"] = str(path)
    if len(each) > 1 and to is not None:
        path = to / f"{result['split']}-{result['protocol']}.lengths.png"
        save(draw_lengths(lines, title), path)
        result["picture"] = str(path)


def _full_names(runs: Sequence[Path]) -> list[str]:
    return [f"{run.absolute().parent.name}/{run.absolute().name}" for run in runs]


def _title(asked: "Asked") -> str:
    names = _full_names(asked.runs)
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def left_out(result: dict[str, Any]) -> list[str]:
    """Of an evaluation: how many samples could not be read, and the first of them."""
    damaged = result.get("damaged") or {}
    more = f"  … and {len(damaged) - SHOWN_DAMAGE} more"
    lines = [f"  '{key}': {reason}" for key, reason in list(damaged.items())[:SHOWN_DAMAGE]]
    head = f"without {len(damaged):,} damaged sample(s) of {result['split']}, which could not be read:"
    return [head, *lines, *([more] if len(damaged) > SHOWN_DAMAGE else [])] if damaged else []


def _show(asked: "Asked", result: dict[str, Any]) -> None:
    """The numbers for people."""
    members = result.get("members", [])
    which = f"checkpoint {result['checkpoint']}" if not members else f"{len(members)} runs"
    averaged = bool(members) and "signatures" not in members[0]
    terminal.say(
        f"{'ensemble' if averaged else 'side by side' if members else asked.runs[0]}: {result['split']}, "
        f"{result['protocol']}, {result['samples']:,} samples, {which}"
    )
    for line in left_out(result):
        terminal.say(line)
    names = _names([Path(one["run"]) for one in members])
    together = [] if members and not averaged else [(">ensemble" if averaged else ">value", result["metrics"])]
    shown = [(f">{name}", one["metrics"]) for name, one in zip(names, members, strict=True) if one["metrics"]]
    shown += together
    measured = dict.fromkeys(metric for _, metrics in reversed(shown) for metric in metrics)
    rows = [(metric, *(terminal.number(metrics.get(metric)) for _, metrics in shown)) for metric in measured]
    terminal.show(terminal.table(["metric", *(name for name, _ in shown)], rows))
    titles: list[str | None] = [*names] or [None]
    for one, title in zip(members or [result], titles, strict=True):
        _show_lengths(one.get("by_length", []), title)
    if averaged:
        _show_lengths(result.get("by_length", []), None)
    for line in _verdict(asked, result):
        terminal.say(line)
    for name, signature in ([result] if averaged else members or [result])[0].get("signatures", {}).items():
        by = "sacrebleu " if name.startswith(("bleu", "chrf")) else ""  # others name the program themselves
        terminal.say(f"{name}: {by}{signature}")
    for one in [*([] if averaged else members), result]:
        if one["predictions"]:
            of_text = "translation" if "signatures" in one else "text"
            what = of_text if one["predictions"].endswith(".jsonl") else "scores"
            terminal.say(f"each sample's {what}: {one['predictions']}")
        for path in [*one.get("report", []), *([one["picture"]] if "picture" in one else [])]:
            terminal.say(path)


def _show_lengths(rows: Sequence[Mapping[str, Any]], name: str | None) -> None:
    """BLEU of short and of long sentences; the run's name where there are several."""
    if len(rows) < 2:
        return
    columns = ["source tokens", ">sentences", ">BLEU", ">exact match"]
    cells = [
        (
            f"{row['from']}–{row['to']}" if row["from"] < row["to"] else row["to"],
            *(terminal.number(row[name]) for name in ("samples", "bleu", "exact_match")),
        )
        for row in rows
    ]
    terminal.show(terminal.table(columns, cells, name))


def _names(runs: Sequence[Path]) -> list[str]:
    """The runs' names, with their recipes' where two are called the same."""
    short = [terminal.plain(run.absolute().name) for run in runs]
    if len(set(short)) == len(short):
        return short
    return [terminal.plain(f"{run.absolute().parent.name}/{run.absolute().name}") for run in runs]


def _verdict(asked: "Asked", result: dict[str, Any]) -> list[str]:
    """The verdict on the first run's claim, where this is how it is measured."""
    from dltk.launch.measuring import settings_of
    from dltk.run.claim import Claim, verdict
    from dltk.run.folder import RunFolder

    said = settings_of(RunFolder.open(asked.runs[0]), asked.changes)["claim"]
    if not said or said["metric"] not in result["metrics"]:
        return []
    claim = Claim(**said)
    if (claim.protocol, claim.split, claim.checkpoint) != (result["protocol"], result["split"], asked.checkpoint):
        return []
    return [verdict([result["metrics"][claim.metric]], claim).line]
