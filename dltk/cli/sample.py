"""`dltk sample`: text that a run's language model writes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.data.vocabulary import Vocabulary

commands = typer.Typer()


@commands.command(
    rich_help_panel="Measure",
    epilog="Examples:\n\ndltk data prepare bible\n\ndltk train ngram_bible run=first\n\n"
    "dltk sample ngram_bible/first --prompt 'In the beginning'\n\n"
    "dltk sample rnnlm_bible/first --length 300 --temperature 0.7 --seed 3 --count 2",
)
def sample(
    run: str = typer.Argument(help=RUN_HELP),
    prompt: str = typer.Option("", help="What the text begins with; default: a new line."),
    length: int = typer.Option(100, min=1, help="Tokens to write: words, pieces or characters, as the run has them."),
    temperature: float = typer.Option(
        1.0, min=0, help="Below 1 likely words are drawn more often; 0 takes the likeliest each time."
    ),
    count: int = typer.Option(1, min=1, help="Texts."),
    seed: int = typer.Option(0, min=0, help="Another one draws other texts."),
    checkpoint: str = typer.Option("best", metavar="best|last|STEP", help="Which weights."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Let a language model write text, drawn word by word; words that it does not know by name are not drawn."""
    folder = find_run(run)
    with terminal.only_json(as_json):
        from dltk.assemble import load
        from dltk.layers.tokens import BOS, EOS, PAD, UNK
        from dltk.tasks.continuing import continued
        from dltk.tasks.language import Language

        task = load(folder, checkpoint)
        if not isinstance(task, Language):
            what = f"{type(task).__name__} tells no next word"
            raise LaunchError(folder.path, "sample", what, "Choose a run of a language model.")
        vocabulary = task.required_vocabulary()
        first, *others = map(vocabulary.encode, prompt.split("\n"))
        given = [*first, *(number for line in others for number in (EOS, *line))]
        if unknown := given.count(UNK):
            terminal.note(f"{unknown:,} of the prompt's {len(given):,} tokens are none of the run's: read as <unk>.")
        # A network may have more words than the text.
        never = [PAD, BOS, UNK, *range(len(vocabulary), folder.recipe["model"].get("vocab_size", 0))]
        texts = continued(
            task.model, [EOS, *given], length=length, count=count, temperature=temperature, never=never, seed=seed
        )
        written = [_text(vocabulary, [*given, *text], EOS) for text in texts]
    if as_json:
        terminal.emit({"run": str(folder.path), "prompt": prompt, "temperature": temperature, "texts": written})
        return
    for number, text in enumerate(written):
        for line in ["", *text.split("\n")] if number else text.split("\n"):
            terminal.say(line)


def _text(vocabulary: "Vocabulary", numbers: Sequence[int], end: int) -> str:
    """Tokens as text, a line for each sentence."""
    lines: list[list[int]] = [[]]
    for number in numbers:
        if number == end:
            lines.append([])
        else:
            lines[-1].append(number)
    return "\n".join(vocabulary.decode(line) for line in lines)
