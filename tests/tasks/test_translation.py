"""Translation: the loss by hand, any division of a batch, what is kept in a checkpoint, what is measured."""

import math
from typing import Any

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.data.datamodule import DataModule
from dltk.data.sentences import lengths_of, sample
from dltk.data.token_plan import TokenPlan
from dltk.data.vocabulary import Words
from dltk.errors import DataError
from dltk.layers import tokens
from dltk.layers.tokens import EOS, PAD
from dltk.models.rnnsearch import RNNsearch
from dltk.models.seq2seq import Seq2Seq
from dltk.optim import sgd
from dltk.tasks.decoding import Hypothesis
from dltk.tasks.task import Procedure
from dltk.tasks.translation import Translation

LETTERS = [chr(ord("a") + number) for number in range(8)]
CAPITALS = [letter.upper() for letter in LETTERS]
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Spelling:
    """Letters and their capitals backwards, one to nine of them; the numbers in `broken` can't be read."""

    in_memory = True

    def __init__(self, *, split: str, data_dir: str | None = None, broken: tuple[int, ...] = ()) -> None:
        self.vocabularies = (Words(LETTERS), Words(CAPITALS))
        generator = torch.Generator().manual_seed(len(split))
        self.samples = []
        for _ in range(50):
            length = int(torch.randint(1, 10, (), generator=generator))
            letters = [LETTERS[int(at)] for at in torch.randint(0, 8, (length,), generator=generator)]
            self.samples.append(sample(" ".join(letters), " ".join(letters[::-1]).upper(), self.vocabularies))
        self.lengths = lengths_of(self.samples)
        self.broken = broken if split == "train" else ()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number in self.broken:
            raise DataError("", f"{number}", "is damaged")
        return self.samples[number]


def network(kind: str = "rnnsearch") -> nn.Module:
    torch.manual_seed(0)
    sizes = {"source_vocab_size": 12, "target_vocab_size": 12, "embedding_size": 6, "hidden_size": 8}
    if kind == "seq2seq":
        return Seq2Seq(**sizes, num_layers=2, first_weights=0.4)
    return RNNsearch(**sizes, alignment_size=6, maxout_size=6, first_weights="fan_in")


def task_of(mean: str, **settings: Any) -> Translation:
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return sgd([{"params": [p for p in model.parameters() if p.requires_grad]}], lr=0.5)

    procedure = Procedure(optimizer=optimizer, clip_norm=1.0)
    return Translation(network(), mean=mean, procedure=procedure, **settings)


def data_of(broken: tuple[int, ...] = (), **settings: Any) -> DataModule:
    return DataModule(Spelling, {"broken": broken}, **{"batch": 16, "seed": 3, "epochs": 2, **settings}, max_bad=50)


def trained(
    mean: str = "sentences", steps: int = 3, accumulate: int = 1, broken: tuple[int, ...] = (), **data: Any
) -> Translation:
    task = task_of(mean)
    trainer = lightning.Trainer(max_steps=steps, accumulate_grad_batches=accumulate, limit_val_batches=0, **QUIET)
    trainer.fit(task, data_of(broken, **data))
    return task


def weights(task: Translation) -> Tensor:
    return nn.utils.parameters_to_vector(task.model.parameters()).detach()


def batch_of(numbers: list[int], pad: int = 0) -> dict[str, Any]:
    """Sentences as a batch, with so much more padding."""
    part = Spelling(split="train")
    rows = [part[number] for number in numbers]
    columns = {side: [torch.from_numpy(row[side]) for row in rows] for side in ("source", "target")}
    padded = {
        side: F.pad(nn.utils.rnn.pad_sequence(column, batch_first=True), (0, pad)) for side, column in columns.items()
    }
    return {**padded, "reference": [row["reference"] for row in rows], "weight": torch.ones(len(rows))}


def test_the_loss_is_the_sum_of_the_words_negative_log_likelihoods():
    task = task_of("sentences").eval()
    batch = batch_of([0, 1, 2, 3])
    total, count = 0.0, 0
    for source, target in zip(batch["source"], batch["target"], strict=True):
        s, t = int(tokens.real(source).sum()), int(tokens.real(target).sum())
        scores = task.model(source[None, :s], tokens.shifted(target[None, :t]))[0]  # (t, v)
        logs = scores.double().log_softmax(1)
        total -= float(sum(logs[at, target[at]] for at in range(t)).detach())
        count += t
    measures = task.measure(batch)
    assert float(measures["loss"].detach()) == pytest.approx(total, rel=1e-5)
    assert float(measures["weight"]) == 4
    assert tuple(float(one) for one in measures["token_loss"]) == pytest.approx((total, count), rel=1e-5)
    assert float(task_of("tokens").measure(batch)["weight"]) == count
    assert measures["target_tokens"][0] == count
    assert measures["source_tokens"][0] == tokens.real(batch["source"]).sum()


def test_label_smoothing_leaves_the_perplexity_alone():
    batch = batch_of([0, 1, 2])
    plain, smooth = (task_of("tokens", label_smoothing=share).eval().measure(batch) for share in (0.0, 0.1))
    assert float(smooth["token_loss"][0]) == pytest.approx(float(plain["token_loss"][0]), rel=1e-6)
    assert float(smooth["loss"].detach()) != pytest.approx(float(plain["loss"].detach()), rel=1e-3)


@pytest.mark.parametrize("mean", ["sentences", "tokens"])
def test_padding_and_what_weighs_nothing_change_neither_loss_nor_gradient(mean):
    task = task_of(mean).double()

    def of(batch):
        measures = task.measure(batch)
        task.zero_grad()
        measures["loss"].backward()
        gradient = torch.cat([p.grad.flatten() for p in task.model.parameters()])
        return measures["loss"].detach(), gradient, {name: measures[name] for name in ("weight", "token_error")}

    loss, gradient, rest = of(batch_of([0, 1, 2]))
    padded = of(batch_of([0, 1, 2], pad=4))
    blank = batch_of([0, 1, 2, 5])
    blank["weight"][3] = 0.0
    for other in (padded, of(blank)):
        torch.testing.assert_close(other[0], loss, rtol=0, atol=1e-12)
        torch.testing.assert_close(other[1], gradient, rtol=0, atol=1e-12)
        assert other[2] == rest


@pytest.mark.parametrize("mean", ["sentences", "tokens"])
@pytest.mark.parametrize("accumulate", [2, 5])
def test_accumulation_changes_nothing(mean, accumulate):
    whole = trained(mean)
    torch.testing.assert_close(weights(trained(mean, accumulate=accumulate)), weights(whole), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(whole), weights(trained(mean, steps=0)), atol=1e-2)


@pytest.mark.parametrize("mean", ["sentences", "tokens"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_one_step_by_hand_with_damaged_samples(mean, accumulate):
    """The sum of the undamaged sentences' losses over their number, or over their tokens; clipped afterwards."""
    broken = tuple(range(0, 50, 3))
    start = trained(mean, steps=0)
    data = data_of(broken)
    batch = next(iter(data.train_dataloader()))
    good = [at for at, weight in enumerate(batch["weight"].tolist()) if weight]
    assert 0 < len(good) < len(batch["weight"])
    target = batch["target"][good]
    scores = start.model(batch["source"][good], tokens.shifted(target))
    loss = F.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum")
    loss = loss / (len(good) if mean == "sentences" else int(tokens.real(target).sum()))
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(start.model.parameters()))])
    expected = weights(start) - 0.5 * gradient / max(1.0, float(gradient.norm()))
    stepped = trained(mean, steps=1, accumulate=accumulate, broken=broken)
    torch.testing.assert_close(weights(stepped), expected, rtol=0, atol=1e-5)


def test_batches_are_of_similar_length_and_bounded():
    data = data_of(tokens=40)
    assert isinstance(data.plan, TokenPlan)
    for batch in data.train_dataloader():
        longest = max(batch["source"].shape[1], batch["target"].shape[1])
        assert len(batch["weight"]) <= 16
        assert len(batch["weight"]) * longest <= 40
        assert batch["info"].weight == tokens.real(batch["target"]).sum()


def test_a_bound_of_tokens_needs_lengths():
    class Bare(Spelling):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            del self.lengths

    data = DataModule(Bare, batch=16, tokens=40, epochs=1)
    with pytest.raises(DataError, match=r"batch\.tokens: Bare has no `lengths`"):
        data.plan  # noqa: B018


def test_evaluation_compares_sentences_with_references():
    task = task_of("tokens")
    trainer = lightning.Trainer(**QUIET)
    task.require(Spelling(split="test"))
    task.translate = lambda source, others=(): [  # type: ignore[method-assign]
        [Hypothesis([12 - int(row[0]) + 3], 0.0, True)] for row in source
    ]
    part = Spelling(split="test")
    answers = {
        number: Words(CAPITALS).decode([12 - int(row["source"][0]) + 3]) for number, row in enumerate(part.samples)
    }
    trainer.test(task, dataloaders=data_of().eval_dataloader("test"), verbose=False)
    assert [one.key for one in task.written] == sorted(f"test/{number}" for number in range(50))
    for one in task.written:
        number = int(one.key.partition("/")[2])
        assert one.hypothesis == answers[number]
        assert one.reference == part[number]["reference"]
        assert one.exact == (one.hypothesis == one.reference)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    exact = 100 * sum(one.exact for one in task.written) / 50
    assert metrics["test/exact_match"] == pytest.approx(exact)
    assert metrics["test/perplexity"] == pytest.approx(math.exp(metrics["test/token_loss"]), rel=1e-6)
    assert set(task.signatures) == {"bleu", "chrf"}
    assert "tok:13a" in task.signatures["bleu"]


def test_a_perfect_translator_has_the_best_scores():
    task = task_of("tokens")
    task.require(Spelling(split="test"))
    own = {tuple(row["source"].tolist()): row["target"].tolist()[:-1] for row in Spelling(split="test").samples}
    task.translate = lambda source, others=(): [  # type: ignore[method-assign]
        [Hypothesis(own[tuple(t for t in row.tolist() if t != PAD)], 0.0, True)] for row in source
    ]
    trainer = lightning.Trainer(**QUIET)
    trainer.test(task, dataloaders=data_of().eval_dataloader("test"), verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    for name in ("exact_match", "bleu", "chrf"):
        assert metrics[f"test/{name}"] == pytest.approx(100)


def test_vocabularies_go_through_a_checkpoint_and_others_are_refused(tmp_path):
    task = trained(steps=1)
    state: dict[str, Any] = {}
    task.on_save_checkpoint(state)
    torch.save(state, tmp_path / "state.pt")
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    other = task_of("sentences")
    other.restore(kept)
    assert other.required_vocabularies().hash == task.required_vocabularies().hash
    other.require(Spelling(split="train"))
    changed = Spelling(split="train")
    changed.vocabularies = (Words(LETTERS[::-1]), Words(CAPITALS))
    with pytest.raises(DataError, match="its vocabularies are not those that the network was trained with"):
        other.require(changed)


def test_what_cannot_be_is_refused():
    for settings, message in (
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0, a share"),
        ({"length_normalisation": -0.5}, "length_normalisation is -0.5, a power"),
    ):
        with pytest.raises(ValueError, match=message):
            Translation(network(), **settings)
    task = task_of("tokens")
    assert task.expected_loss() == pytest.approx(math.log(12))
    assert task_of("sentences").expected_loss() is None
    assert EOS in Spelling(split="train")[0]["target"]
