"""`dltk draw`: pictures of what a run has learnt."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from dltk.cli import terminal
from dltk.cli.figures import save
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dltk.run.folder import RunFolder

commands = typer.Typer()
What = Literal[
    "features", "filters", "warp", "alignment", "attention", "words", "sentences", "gradient_flow", "verification"
]
NEEDED = {
    "features": "the IMAGE that the network is to see",
    "alignment": "the SENTENCE to translate, or the KEY of an utterance",
    "attention": "the IMAGE to describe",
    "sentences": "a FILE of sentences",
}
MAPS = 16  # of a layer
WORDS = 200


@commands.command(
    rich_help_panel="Measure",
    epilog="Examples:\n\ndltk train lenet5_digits run=first\n\ndltk draw lenet5_digits/first features my_seven.png\n\n"
    "dltk draw lenet5_digits/first filters --to filters.pdf\n\ndltk train warp run=first\n\n"
    "dltk draw warp/first warp -o warp.png\n\ndltk train rnnsearch_number_names run=first\n\n"
    "dltk draw rnnsearch_number_names/first alignment 'three hundred and twelve thousand'\n\n"
    "dltk draw blstm_tones/first alignment test/7\n\n"
    "dltk draw rnnsearch_number_names/first words --side target\n\n"
    "dltk draw show_attend_tell_shapes/first attention my_scene.png --beam 3\n\n"
    "dltk draw skipgram_bible/first words --count 300 -o words.svg\n\n"
    "dltk draw seq2seq_number_names/first sentences numbers.en\n\n"
    "dltk draw lstm_adding/first gradient_flow rnn_adding/first\n\n"
    "dltk train deepface_strangers run=first\n\ndltk draw deepface_strangers/first verification",
)
def draw(
    run: str = typer.Argument(help=RUN_HELP),
    what: What = typer.Argument(
        help="features: what each layer makes of IMAGE (figure 2 of the article); filters: those of the first layer; "
        "warp: how a hidden layer of two units bends the plane of its inputs (figure 1); "
        "alignment: where a translator with attention looks in SENTENCE for each word that it writes, or when a "
        "transcriber hears each label of the utterance KEY; "
        "attention: where a captioner looks in IMAGE for each word that it writes (figure 3); "
        "words: WORDs on a plane, as a network's vectors have them, and sentences: the lines of FILE (figure 4); "
        "gradient_flow: how far errors reach back in a recurrent network, and in those of other RUNs (figure 5); "
        "verification: how well it tells whether two images show the same class, of classes held out (data.held_out)."
    ),
    given: list[str] | None = typer.Argument(
        None,
        metavar="[IMAGE|SENTENCE|KEY|FILE|WORD…|RUN…]",
        help="For features and attention: a picture of any size; for alignment: a line of text, or an utterance's key; "
        "for sentences: a file of text, a sentence a line; for words: which, by default the most frequent; for "
        "gradient_flow: runs to compare with.",
    ),
    to: Path | None = typer.Option(
        None, "--to", "-o", help="The drawing: .png, .pdf or .svg; default: WHAT.png in the run folder."
    ),
    checkpoint: str = typer.Option("best", metavar="best|last|STEP", help="Which weights."),
    maps: int | None = typer.Option(
        None, min=1, help=f"Maps of a layer: those that vary most; default {MAPS}. Of filters: the first; default all."
    ),
    top: int = typer.Option(5, min=1, help="For features: classes shown."),
    layers: str | None = typer.Option(
        None, metavar="PATTERN", help="For features: only layers whose names this regular expression finds."
    ),
    branches: bool = typer.Option(
        False, help="For features: also what lies inside the blocks of a network that branches."
    ),
    invert: Literal["auto", "yes", "no"] = typer.Option("auto", help="For features: swap light and dark."),
    beam: int = typer.Option(1, min=1, help="For alignment and attention: width of the beam."),
    side: Literal["source", "target"] | None = typer.Option(
        None, help="For words of a translator: the language; default source."
    ),
    count: int | None = typer.Option(None, min=3, help=f"For words: how many of the most frequent; default {WORDS}."),
    seed: int | None = typer.Option(
        None,
        min=0,
        max=2**32 - 1,
        help="For words and sentences: begin t-SNE from points drawn by it; default: from PCA.",
    ),
    exact: bool = typer.Option(
        False, "--exact", help="For words and sentences: t-SNE of all pairs, as published; some seconds for a thousand."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON: what was drawn."),
) -> None:
    """Draw what a run has learnt."""
    given = given or []
    _require(what, given, count)
    folder = find_run(run)
    of_picture = f"-{Path(given[0]).stem}" if what in ("features", "attention") else ""
    path = to or folder.path / f"{what}{of_picture}.png"
    with terminal.only_json(as_json):
        if what == "features":
            sheet, drawn = _features(folder, Path(given[0]), checkpoint, maps or MAPS, top, layers, branches, invert)
        elif what == "alignment":
            sheet, drawn = _alignment(folder, " ".join(given), checkpoint, beam)
        elif what == "attention":
            sheet, drawn = _attention(folder, Path(given[0]), checkpoint, beam)
        elif what == "words":
            sheet, drawn = _words(folder, checkpoint, side, given, count or WORDS, seed, exact)
        elif what == "sentences":
            sheet, drawn = _sentences(folder, checkpoint, Path(given[0]), seed, exact)
        elif what == "gradient_flow":
            sheet, drawn = _gradient_flow([folder, *(find_run(other) for other in given)], checkpoint)
        elif what == "verification":
            sheet, drawn = _verification(folder, checkpoint)
        elif what == "filters":
            sheet, drawn = _filters(folder, checkpoint, maps)
        else:
            sheet, drawn = _warp(folder, checkpoint)
        save(sheet, path)
    if as_json:
        terminal.emit({"file": str(path), "run": str(folder.path), "what": what, **drawn})
    else:
        terminal.say(path)


def _require(what: What, given: Sequence[str], count: int | None) -> None:
    """See that what is drawn is given what it needs, and no more.

    Raises:
        LaunchError: it is not.
    """
    if what in NEEDED and not given:
        raise LaunchError("", f"draw … {what}", f"needs {NEEDED[what]}", "See `dltk draw --help`.")
    alone = {"filters": 0, "warp": 0, "verification": 0}
    most = {"features": 1, "attention": 1, "sentences": 1, **alone}.get(what, len(given))
    if len(given) > most:
        raise LaunchError("", f"draw … {what}", f"takes no more, '{given[most]}' given", "See `dltk draw --help`.")
    if what == "words" and given and count is not None:
        raise LaunchError("", "--count", "is of the most frequent words, and words are given", "Leave one of them out.")


def _features(
    folder: "RunFolder", image: Path, checkpoint: str, maps: int, top: int, layers: str | None, branches: bool,
    invert: Literal["auto", "yes", "no"],
) -> tuple["Figure", dict[str, Any]]:  # fmt: skip
    from dltk.assemble import load
    from dltk.cli.features import chosen, draw_features, see
    from dltk.cli.layers import paper_names

    task: Any = load(folder, checkpoint)
    seen = see(folder, task, image, top, branches, invert)
    rows = [chosen(activity, maps) for activity in _of_layers(folder, seen.activities, layers)]
    drawn = {
        "picture": str(image),
        "prepared": list(seen.prepared),
        "layers": [
            {"layer": row.layer, "kind": row.kind or None, "shape": list(row.shape), "drawn": list(row.drawn)}
            for row in rows
        ],
        "top": list(seen.top),
    }
    return draw_features(seen, rows, f"{folder.name}: {image.name}", paper_names(task.model)), drawn


def _of_layers(folder: "RunFolder", found: Any, pattern: str | None) -> Any:
    """The activities of the layers whose names a pattern finds."""
    import re

    try:
        wanted = [activity for activity in found if pattern is None or re.search(pattern, activity.layer)]
    except re.error as error:
        raise LaunchError("", "--layers", f"{pattern!r} is no regular expression ({error})") from None
    if not wanted:
        name = folder.recipe["model"]["architecture"]
        there = ", ".join(dict.fromkeys(activity.layer for activity in found)) or "none"
        what = f"'{name}' has no layer to draw" if pattern is None else f"no layer's name matches {pattern!r}"
        raise LaunchError(folder.path, "features", what, f"Layers with maps or units: {there}.")
    return wanted


def _filters(folder: "RunFolder", checkpoint: str, most: int | None) -> tuple["Figure", dict[str, Any]]:
    from dltk.assemble import load
    from dltk.cli.filters import draw_filters, first_filters

    bank = first_filters(folder, load(folder, checkpoint))
    sheet, count = draw_filters(bank, most, folder.name)
    return sheet, {"layer": bank.layer, "shape": list(bank.weights.shape), "drawn": list(range(count))}


def _warp(folder: "RunFolder", checkpoint: str) -> tuple["Figure", dict[str, Any]]:
    from dltk.cli.warp import draw_warp

    return draw_warp(folder, checkpoint), {}


def _alignment(folder: "RunFolder", sentence: str, checkpoint: str, beam: int) -> tuple["Figure", dict[str, Any]]:
    from dltk.assemble import load
    from dltk.cli.alignment import draw_alignment
    from dltk.cli.heard import draw_heard
    from dltk.launch.aligned import align
    from dltk.launch.heard import hear

    if folder.recipe["task"]["name"] == "transcription":
        heard = hear(folder, load(folder, checkpoint), sentence, beam)  # type: ignore[arg-type]
        return draw_heard(heard, f"{folder.name}: {heard.key}"), heard.plain()
    aligned = align(folder, load(folder, checkpoint), sentence, beam)
    return draw_alignment(aligned, f"{folder.name}: {aligned.text}"), aligned.plain()


def _attention(folder: "RunFolder", image: Path, checkpoint: str, beam: int) -> tuple["Figure", dict[str, Any]]:
    from dltk.assemble import load
    from dltk.cli.attention import draw_attention
    from dltk.cli.captions import seen
    from dltk.launch.described import describe, describer

    task = describer(folder, load(folder, checkpoint), "attention")
    pixels, prepared = seen(task, image)
    described = describe(folder, task, pixels, beam)
    drawn = {"picture": str(image), "prepared": prepared, **described.plain()}
    return draw_attention(described, pixels, f"{folder.name}: {described.text}"), drawn


def _words(
    folder: "RunFolder",
    checkpoint: str,
    side: Literal["source", "target"] | None,
    given: list[str],
    count: int,
    seed: int | None,
    exact: bool,
) -> tuple["Figure", dict[str, Any]]:
    from dltk.assemble import load
    from dltk.cli.embeddings import Embeddings
    from dltk.cli.vectors import draw_plane, plane_of, words_of

    table = Embeddings.of(folder, load(folder, checkpoint), side)
    plane = plane_of(*words_of(table, given, count), seed, exact=exact)
    sheet, labelled = draw_plane(plane, f"{folder.name}: words" + (f" of the {table.side}" if table.side else ""))
    return sheet, {"side": table.side, "labelled": labelled, **plane.plain()}


def _sentences(
    folder: "RunFolder", checkpoint: str, file: Path, seed: int | None, exact: bool
) -> tuple["Figure", dict[str, Any]]:
    from dltk.assemble import load
    from dltk.cli.vectors import draw_plane, plane_of, sentences_of

    plane = plane_of(*sentences_of(folder, load(folder, checkpoint), file), seed, exact=exact)
    sheet, labelled = draw_plane(plane, f"{folder.name}: {file.name}")
    return sheet, {"labelled": labelled, **plane.plain()}


def _gradient_flow(folders: Sequence["RunFolder"], checkpoint: str) -> tuple["Figure", dict[str, Any]]:
    from dltk.cli.gradient_flow import draw_flows, flow_of

    flows = [flow_of(folder, checkpoint) for folder in folders]
    return draw_flows(flows), {"flows": [flow.plain() for flow in flows]}


def _verification(folder: "RunFolder", checkpoint: str) -> tuple["Figure", dict[str, Any]]:
    from dltk.cli.verification import draw_verified, verify

    verified = verify(folder, checkpoint)
    return draw_verified(verified), verified.plain()
