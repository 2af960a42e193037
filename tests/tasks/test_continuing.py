"""Text that language models write: drawn as often as they say, greedily at temperature 0, the same again by seed."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

import dltk
from dltk import cli
from dltk.layers.tokens import EOS
from dltk.models.cslm import CSLM
from dltk.models.mrnn import MRNN
from dltk.models.ngram import NGram
from dltk.models.nplm import NPLM
from dltk.models.rnnlm import RNNLM
from dltk.tasks.continuing import continued

MODELS = {
    "rnnlm": lambda: RNNLM(vocab_size=9, hidden_size=6, classes=3),
    "mrnn": lambda: MRNN(vocab_size=9, hidden_size=6, factors=5),
    "nplm": lambda: NPLM(vocab_size=9, order=3, embedding_size=4, hidden_size=5),
    "ngram": lambda: counted(),
    "cslm": lambda: counted_beside(),
}


def counted() -> NGram:
    model = NGram(vocab_size=9, order=3)
    model.fit(torch.randint(4, 9, (2, 80), generator=torch.Generator().manual_seed(0)))
    return model


def counted_beside() -> CSLM:
    model = CSLM(vocab_size=9, order=3, embedding_size=4, hidden_size=5, shortlist=6)
    model.count(torch.randint(4, 9, (2, 80), generator=torch.Generator().manual_seed(0)))
    return model


@pytest.fixture(name="model", params=MODELS)
def made_model(request):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return MODELS[request.param]().eval()


def test_at_temperature_0_each_word_is_the_likeliest_after_those_before(model):
    (text,) = continued(model, [EOS, 5], length=6, temperature=0)
    for at in range(6):
        words = torch.tensor([[EOS, 5, *text[:at]]])
        assert int(model(words)[0, -1].argmax()) == text[at]


def test_the_lowest_temperature_is_near_0(model):
    asked = {"length": 6, "never": [0, 1, 2]}
    assert continued(model, [EOS, 5], temperature=5e-324, **asked) == continued(model, [EOS, 5], temperature=0, **asked)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_words_are_drawn_as_often_as_they_are_likely(model, temperature):
    texts = continued(model, [EOS, 5], length=1, count=2000, temperature=temperature, never=[0, 1, 2])
    log_p = model(torch.tensor([[EOS, 5]]))[0, -1].double()
    log_p[:3] = -torch.inf
    expected = (log_p / temperature).softmax(0)
    counts = Counter(word for (word,) in texts)
    for word in range(9):
        assert counts[word] / 2000 == pytest.approx(float(expected[word]), abs=0.05)
    assert not any(counts[word] for word in range(3))


def test_a_seed_gives_the_same_text_again_and_another_another(model):
    one, same, other = (continued(model, [EOS], length=30, count=2, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert one[0] != one[1]


def test_the_command_goes_on_with_a_prompt(tmp_path: Path, capsys) -> None:
    (tmp_path / "counted").mkdir()
    for part, count in (("train", 200), ("val", 20), ("test", 20)):
        (tmp_path / "counted" / f"{part}.txt").write_text("one two, three four.\n" * count)
    run = dltk.train({
        "name": "counted",
        "model": {"architecture": "ngram", "vocab_size": 20, "order": 3},
        "data": {"name": "text", "folder": "counted", "vocab_size": 20, "lanes": 2, "unroll": 8},
        "task": {"name": "counting"},
        "batch": {"global": 2},
        "train": {"epochs": 1},
        "checkpoint": {"monitor": "val/perplexity"},
        "log": {"wandb": "disabled"},
    }, f"data_dir={tmp_path}", f"runs_dir={tmp_path / 'runs'}", "run=first")  # fmt: skip
    wanted = ["sample", str(run.path), "--prompt", "one two", "--length", "9", "--temperature", "0"]
    assert cli.run(wanted) == 0
    assert capsys.readouterr().out == "one two, three four.\none two, three\n"
    assert cli.run([*wanted, "--count", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["texts"] == ["one two, three four.\none two, three"] * 2
    lines = ["sample", str(run.path), "--prompt", "one two, three four.\none", "--length", "5", "--temperature", "0"]
    assert cli.run(lines) == 0
    assert capsys.readouterr().out == "one two, three four.\none two, three four.\n"
    assert cli.run(["predict", str(run.path), str(tmp_path / "counted" / "test.txt")]) == 2
    assert "predict: tells the next word of a text. `dltk sample` lets it write" in capsys.readouterr().err
    assert cli.run([*lines, "--prompt", "seven two, six four"]) == 0
    assert capsys.readouterr().err == "2 of the prompt's 5 tokens are none of the run's: read as <unk>.\n"
