"""`dltk predict`: what a run's network sees in a person's pictures or says of them, or makes of lines or recordings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import DataError, DltkError, LaunchError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from dltk.cli.pictures import Manner
    from dltk.run.folder import RunFolder

commands = typer.Typer()
LOOKED_AT = 200  # training images from which the manner of the data is learnt
WRITING = ("translation", "captioning", "transcription")  # tasks; of the others it is told which class a picture shows
# What is asked of these tasks alone; what is not here, and not in CLASSES, is asked of all.
OF_TASKS = {
    **dict.fromkeys(("beam", "n_best"), WRITING),
    **dict.fromkeys(("protocol", "normalise", "candidates", "dictionary", "per_word"), ("translation",)),
    **dict.fromkeys(("replace_unknown", "score", "together"), ("translation",)),
}
CLASSES = ("top", "plot", "invert")
_NEXT = ("tells the next word of a text", "`dltk sample` lets it write, `dltk evaluate` measures it on its data.")
OTHERWISE = {  # tasks whose runs take no FILES: what they do, and what there is for it
    "sequences": (
        "reads sequences of numbers, and FILES are pictures, text or recordings",
        "`dltk evaluate` keeps its outputs for the data's sequences.",
    ),
    **dict.fromkeys(("language", "counted_beside", "counting"), _NEXT),
    "next_label": (
        "tells the next label of a transcript",
        "A transducer begins with its weights (`init`), `dltk evaluate` measures it on its data.",
    ),
    "word_vectors": ("has vectors of words", "`dltk words` tells which are near a word."),
}


@commands.command(
    rich_help_panel="Measure",
    epilog="Examples:\n\ndltk train lenet5_digits run=first\n\ndltk predict lenet5_digits/first my_seven.png\n\n"
    "dltk predict lenet5_digits/first *.jpg --top 3 --plot seen.png\n\n"
    "dltk train show_and_tell_shapes run=first\n\n"
    "dltk predict show_and_tell_shapes/first my_scene.png --beam 3 --n-best 3\n\n"
    "dltk train rnnsearch_number_names run=first\n\n"
    "dltk predict rnnsearch_number_names/first < numbers.en > numbers.fr\n\n"
    "dltk predict rnnsearch_number_names/first numbers.en --beam 12 --n-best 3\n\n"
    "dltk predict rnnsearch_number_names/first numbers.en --protocol sample=0.8 --n-best 3\n\n"
    "dltk predict large_vocab_wmt14_enfr/first text.en --beam 12 --candidates 30000 --dictionary en-fr.probs"
    " --replace-unknown\n\n"
    "dltk predict rnnsearch_number_names/first --score < pairs.tsv > scores.tsv\n\n"
    "dltk train blstm_prompts run=first\n\n"
    "dltk predict blstm_prompts/first message.wav --beam 20 --n-best 3",
)
def predict(
    context: typer.Context,
    run: str = typer.Argument(help=RUN_HELP),
    files: list[Path] | None = typer.Argument(
        None,
        help="Pictures of any size: PNG, JPEG, GIF, TIFF, BMP, WebP, PPM; text, a sentence a line (default: stdin); or "
        "recordings: WAV, FLAC, SPHERE.",
    ),
    top: int = typer.Option(5, min=1, help="Classes shown for each picture."),
    plot: Path | None = typer.Option(None, help="Save what the network saw, with bars of the top classes."),
    invert: Literal["auto", "yes", "no"] = typer.Option("auto", help="Swap light and dark; auto: as the data need it."),
    beam: int = typer.Option(
        1, min=1, help="Text, captions, transcripts: width of the beam; 1 takes what is likeliest at each step."
    ),
    protocol: str | None = typer.Option(
        None, help="Text: greedy, beam=12, or sample=0.8,3: words drawn at a temperature of 0.8 by the seed 3."
    ),
    n_best: int = typer.Option(
        1, min=1, help="Text: translations of each line, as NUMBER ||| TEXT ||| SCORE; or captions, transcripts."
    ),
    normalise: float | None = typer.Option(
        None, min=0, help="Text: power of the length by which a score is divided; default: as the recipe says."
    ),
    candidates: int | None = typer.Option(
        None, min=1, help="Text: write only this many of the most frequent words, and those of --dictionary."
    ),
    dictionary: Path | None = typer.Option(
        None,
        help="Text: lines of source word, target word and probability or its logarithm, as fast_align -p has them.",
    ),
    per_word: int = typer.Option(10, min=1, help="Text: translations of each word taken from --dictionary."),
    replace_unknown: bool = typer.Option(
        False, help="Text: for <unk> write the translation of the word that it is aligned with, or else that word."
    ),
    score: bool = typer.Option(
        False, "--score", help="Text: of lines SOURCE<TAB>TARGET, the log-probability of the target, as a third column."
    ),
    together: list[str] | None = typer.Option(
        None, "--with", metavar="RUN", help="Text: another run whose probabilities are averaged in; may be repeated."
    ),
    checkpoint: str = typer.Option("best", metavar="best|last|STEP", help="Which weights."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Classify or describe pictures, translate lines or transcribe recordings, as the run was trained to.

    A picture or a recording is first brought into the form of the run's data; what was done is said. Recordings that
    lie in one folder are taken for one speaker's. Given translations can be scored.
    """
    folder = find_run(run)
    _require_fitting(context, folder)
    if folder.recipe["task"]["name"] == "translation":
        from dltk.cli.lines import Wanted, translate
        from dltk.cli.scores import score_pairs
        from dltk.cli.unknown import Large

        large = Large(candidates, dictionary, per_word, replace_unknown)
        wanted = Wanted(
            [str(folder.path), *(together or [])], checkpoint, beam, n_best, normalise, as_json, large, protocol
        )
        (score_pairs if score else translate)(files or [], wanted)
        return
    if folder.recipe["task"]["name"] == "captioning":
        from dltk.cli.captions import say_captions

        say_captions(folder, files or [], checkpoint, beam, n_best, as_json=as_json)
        return
    if folder.recipe["task"]["name"] == "transcription":
        from dltk.cli.recordings import say_transcripts

        say_transcripts(folder, files or [], checkpoint, beam, n_best, as_json=as_json)
        return
    if folder.recipe["task"]["name"] in OTHERWISE:
        does, instead = OTHERWISE[folder.recipe["task"]["name"]]
        raise LaunchError(folder.path, "predict", does, instead)
    if not files:
        raise LaunchError("", "FILES", "are missing", "Give pictures; lines of text are for runs that translate.")
    with terminal.only_json(as_json):
        answers, images = _classify(folder, files, top, invert, checkpoint)
    if plot is not None:
        _save_plot(plot, answers, images)
    if as_json:
        terminal.emit(answers)
        return
    for answer in answers:
        terminal.say(f"{answer['file']}: {', '.join(answer['prepared'])}")
    rows = [
        (Path(answer["file"]).name if not i else "", one["class"], f"{100 * one['probability']:.1f} %", _bar(one))
        for answer in answers
        for i, one in enumerate(answer["top"])
    ]
    terminal.show(terminal.table(["file", "class", ">probability", "|"], rows))
    if plot is not None:
        terminal.say(plot)


def _require_fitting(context: typer.Context, folder: "RunFolder") -> None:
    """See that no option is given that says nothing to the run.

    Raises:
        LaunchError: one is.
    """
    task = folder.recipe["task"]["name"]
    for option in context.command.params:
        name = str(option.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        tasks = OF_TASKS.get(name)
        if (tasks is not None and task not in tasks) or (name in CLASSES and task in WRITING):
            asked = "classes of pictures" if tasks is None else f"runs whose task is {', '.join(tasks)}"
            what = f"is of {asked}, and this one's is {task}"
            raise LaunchError(folder.path, option.opts[0], what, "Leave it out.")


def _bar(one: dict[str, Any]) -> str:
    return "█" * round(20 * one["probability"])


def _classify(
    folder: "RunFolder", files: list[Path], top: int, invert: Literal["auto", "yes", "no"], checkpoint: str
) -> tuple[list[dict[str, Any]], "Tensor"]:
    """For each file what was done and the top classes; and the images (n, c, h, w) as the network saw them."""
    import torch

    from dltk.assemble import load
    from dltk.cli.pictures import prepare
    from dltk.launch import evaluation

    task = load(folder, checkpoint)
    manner, classes, enlarge = data_of(folder, task)
    prepared = [prepare(path, manner, invert, enlarge) for path in files]
    images = torch.stack([image for image, _ in prepared])  # (n, c, h, w)
    answers = []
    for path, (_, said), row in zip(files, prepared, evaluation.predict(task, images), strict=True):
        best = row.topk(min(top, len(row)))
        named = [
            {"class": classes[k] if k < len(classes) else str(k), "probability": p}
            for p, k in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        answers.append({"file": str(path), "prepared": said, "top": named})
    return answers, images


def data_of(folder: "RunFolder", task: Any) -> tuple["Manner", list[str], Any]:
    """The manner of the run's training images, the names of its classes, and how its data set enlarges images."""
    import torch

    from dltk.assemble import build_data
    from dltk.cli.pictures import learn_manner
    from dltk.data.dataset import readable
    from dltk.launch.rank import effective_settings

    try:
        part = build_data(effective_settings(folder)).part("train")
        every = max(1, len(part) // LOOKED_AT)
        samples = list(readable(part, range(0, len(part), every)))
    except (DataError, RecipeError) as error:
        return _manner_without_data(folder, task, error), [], None
    images = torch.stack([torch.as_tensor(sample.get("image", 0.0)) for sample in samples])
    if images.dtype != torch.uint8:
        name = folder.recipe["data"]["name"]
        raise DataError(folder.path, name, "holds no pictures", "Use a run that was trained on pictures.")
    names = [str(name) for name in getattr(part, "classes", [])]
    native, enlarge = getattr(part, "native", None), getattr(part, "enlarge", None)
    if native is None or enlarge is None or images.shape[-1] == native:
        return learn_manner(images), names, None
    return learn_manner(images, native=native), names, enlarge


def _manner_without_data(folder: "RunFolder", task: Any, error: DltkError) -> "Manner":
    """On a machine without the data: the network's own shape, and light ink on black for one channel."""
    from dltk.cli.pictures import Manner

    shape = getattr(task.model, "input_shape", None)
    if shape is None or None in shape:
        raise error
    terminal.note(f"{error} Guessing the form of the data from the network.")
    return Manner(tuple(shape), inked=shape[0] == 1, extent=0.7, by_mass=True)


def _save_plot(path: Path, answers: list[dict[str, Any]], images: "Tensor") -> None:
    """One row a file: the picture as the network saw it beside bars of its top classes."""
    from dltk.cli.figures import figure, save

    sheet = figure(6, 2.2 * len(answers))
    rows = sheet.subplots(len(answers), 2, squeeze=False, width_ratios=[1, 1.6])
    for (left, right), answer, image in zip(rows, answers, images, strict=True):
        left.imshow(image.permute(1, 2, 0).squeeze(2).numpy(), cmap="gray", vmin=0, vmax=255)
        left.set_title(Path(answer["file"]).name, fontsize=9, parse_math=False)
        left.set_axis_off()
        names = [one["class"] for one in answer["top"]]
        shares = [100 * one["probability"] for one in answer["top"]]
        colors = ["#2563a8"] + ["#a9c1dc"] * (len(names) - 1)
        bars = right.barh(range(len(names)), shares, color=colors)
        right.bar_label(bars, fmt="%.1f %%", padding=3, fontsize=8)
        right.set_yticks(range(len(names)), names, parse_math=False)
        right.set(xlim=(0, 118), xticks=[])
        right.invert_yaxis()
        right.spines[["top", "right", "bottom"]].set_visible(False)
    save(sheet, path)
