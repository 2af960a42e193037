"""`dltk words`: which words a run's network has near a word, and what it finds for "a is to b as c is to"."""

from typing import Literal

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import LaunchError

commands = typer.Typer()


@commands.command(
    rich_help_panel="Measure",
    epilog="Examples:\n\ndltk data prepare bible\n\ndltk train skipgram_bible run=first\n\n"
    "dltk words skipgram_bible/first seven egypt\n\n"
    "dltk words skipgram_bible/first father son mother --analogy\n\n"
    "dltk words rnnsearch_number_names/first trois --side target",
)
def words(
    run: str = typer.Argument(help=RUN_HELP),
    given: list[str] = typer.Argument(metavar="WORD…", help="Words of the run's vocabulary."),
    analogy: bool = typer.Option(
        False, "--analogy", help="Of three WORDs: what is to the third as the second is to the first?"
    ),
    top: int = typer.Option(10, min=1, help="Words shown for each."),
    side: Literal["source", "target"] | None = typer.Option(
        None, help="Of a translator: the language; default source."
    ),
    checkpoint: str = typer.Option("best", metavar="best|last|STEP", help="Which weights."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Find the words whose vectors are nearest by the cosine, in a run's network."""
    if analogy and len(given) != 3:
        raise LaunchError("", "--analogy", f"is of three words, {len(given)} given", "Write: man king woman.")
    folder = find_run(run)
    with terminal.only_json(as_json):
        from dltk.assemble import load
        from dltk.cli.embeddings import Embeddings

        table = Embeddings.of(folder, load(folder, checkpoint), side)
        numbers = [table.number(word) for word in given]
        if analogy:
            a, b, c = numbers
            answers = {" : ".join(given): table.near(table.analogous(a, b, c), top, (a, b, c))}
        else:
            answers = {
                word: table.near(table.vectors[number], top, (number,))
                for word, number in zip(given, numbers, strict=True)
            }
    if as_json:
        found = [
            {"word": word, "near": [{"word": name, "cosine": cosine} for name, cosine in near]}
            for word, near in answers.items()
        ]
        terminal.emit({"run": str(folder.path), "analogy": analogy, "answers": found})
        return
    rows = [
        (word if not place else "", name, f"{cosine:.3f}")
        for word, near in answers.items()
        for place, (name, cosine) in enumerate(near)
    ]
    terminal.show(terminal.table(["word", "near", ">cosine"], rows))
