"""One translator in a process of its own: `python translators.py NAME ROOT`.

It answers a question on each line of its input by a number:

- `train SECONDS`: target tokens a second while it trains so long, padding not counted, loading included;
- `beam SECONDS`: rows and steps a second of a beam of width 5 (of each sentence five rows), none of which ends before
  the others;
- `learn EPOCHS`: BLEU of the test part by a beam of width 5, after so much training (JoeyNMT only);
- `flops 0`: operations of a forward and a backward pass for each target token;
- `products 32`, `products 16`: operations a second of large matrix products in so many bits.

It runs in JoeyNMT's environment too, so each way imports what it needs. ROOT holds the set of pairs
(`debian_descriptions`), and its pieces as text for JoeyNMT (`pieces`), which `write_pieces` makes. All compute on one
thread, and a second is one of the process's own, so that other work on the machine counts for less.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

SET, PIECES = "debian_descriptions", "pieces"
SPACE = "\u2581"  # with which a piece begins a word
PAD, BOS, FIRST = 0, 2, 4  # of our tokens: padding, begin of a sentence, the first that is none of the special ones
SENTENCES, WIDTH, STEPS = 16, 5, 30  # of a beam search
COUNTED = 8  # batches of which operations are counted
EMBEDDING, UNITS = 256, 512  # where speed is compared; the recipes are half as wide, so that they train in minutes
EPOCHS = 3  # of a training that ends in a BLEU
SMALL = (128, 256)  # the recipes
RECIPE = "rnnsearch_debian_enfr"
ATTENTION = (f"model.embedding_size={EMBEDDING}", f"model.hidden_size={UNITS}")
ATTENTION += (f"model.alignment_size={UNITS}", f"model.maxout_size={EMBEDDING}")
PLAIN = ("seq2seq_debian_enfr", *ATTENTION[:2])


def forever(batches: Iterable[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from batches


def per_second(step: Callable[[], int], seconds: float) -> float:
    """What a step says that it has done, per second."""
    done, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        done += step()
    return done / (time.process_time() - began)


class Ours:
    """A recipe's network, task, optimiser and loader.

    Args:
        root: of the data.
        recipe: its name, and settings.
        half: compute in 16 bits where autocast does.
        bucketed: batches hold sentences of similar length; else they are cut as the epoch's order has them.
    """

    def __init__(self, root: Path, *recipe: str, half: bool = False, bucketed: bool = True) -> None:
        from dltk.assemble import build
        from dltk.data import datamodule

        datamodule.TokenPlan = datamodule.TokenPlan if bucketed else unsorted_plan()
        self.task, self.data = build(*recipe, f"data_dir={root}", "data.workers=0")
        self.half, self.clip = half, self.task.procedure.clip_norm
        self.optimizer = self.task.procedure.optimizer(self.task.model)
        self.batches = forever(self.data.train_dataloader())

    def step(self) -> int:
        """Train on a batch; its target tokens."""
        import torch

        self.optimizer.zero_grad()
        measures = self.measures(next(self.batches))
        (measures["loss"] / measures["weight"]).backward()
        torch.nn.utils.clip_grad_norm_(self.task.model.parameters(), self.clip)
        self.optimizer.step()
        return int(measures["target_tokens"][0])

    def measures(self, batch: Any) -> Any:
        """What the task measures of a batch."""
        import torch

        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            return self.task.measure(batch)

    def train(self, seconds: float) -> float:
        """Target tokens a second."""
        return per_second(self.step, seconds)

    def beam(self, seconds: float) -> float:
        """Rows and steps a second."""
        import torch

        from dltk.layers import tokens
        from dltk.tasks.decoding import Decoding, translate

        model = self.task.model.eval()
        with torch.no_grad():
            model.output.bias[tokens.EOS] = -1e9
        source = of_one_length(self.data.part("val"))

        def step() -> int:
            found = translate([model], source, Decoding(width=WIDTH, times=0.0, plus=STEPS))
            assert all(len(best.tokens) == STEPS for (best,) in found), "a hypothesis ended"
            return len(source) * WIDTH * STEPS

        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            return per_second(step, seconds)

    def flops(self, _: float) -> float:
        """Operations for each target token."""
        from dltk.trainer.utilisation import ModelFlops

        count = operations = 0
        for _ in range(COUNTED):
            with ModelFlops() as counting:
                measures = self.measures(next(self.batches))
                counting.begin_backward()
                measures["loss"].backward()
            operations += counting.total
            count += int(measures["target_tokens"][0])
        return operations / count

    def products(self, bits: float) -> float:
        """Operations a second."""
        import torch

        from dltk.trainer.utilisation import matrix_rate

        return matrix_rate(torch.device("cpu"), torch.float32 if bits == 32 else torch.bfloat16)


def unsorted_plan() -> Any:
    """The plan of batches without the sorting by length."""
    import numpy as np

    from dltk.data.plan import Order
    from dltk.data.token_plan import TokenPlan, fitting

    class Unsorted(TokenPlan):
        def _cut(self, epoch: int, number: int) -> Any:
            places = np.arange(number * self.pool, min((number + 1) * self.pool, self.total))
            numbers = Order.samples(self, epoch, places)
            longest, ends = np.asarray(self.lengths[numbers]).max(1), [0]
            while ends[-1] < len(numbers):
                ends.append(ends[-1] + fitting(longest[ends[-1] :], self.tokens, self.most))
            return numbers, np.asarray(ends[1:], dtype=np.int64)

    return Unsorted


def of_one_length(part: Any) -> Any:
    """Sources (b, s) of one length, the most frequent one of more than twenty tokens."""
    import numpy as np
    import torch

    lengths = np.asarray(part.lengths)[:, 0]
    length = np.bincount(lengths[lengths > 20]).argmax()
    chosen = np.flatnonzero(lengths == length)[:SENTENCES]
    return torch.stack([torch.as_tensor(part[int(number)]["source"]) for number in chosen])


class Bare:
    """Sequence to sequence as one would write it by torch's own layers, over the batches that ours has.

    Args:
        root: of the data.
    """

    def __init__(self, root: Path) -> None:
        import torch
        from torch import nn

        self.ours = Ours(root, *PLAIN)
        net = self.ours.task.model
        e, n, layers = net.source_embedding.embedding_dim, net.encoder.hidden_size, net.encoder.num_layers
        dropout = net.encoder.dropout
        sources, targets = net.source_embedding.num_embeddings, net.target_embedding.num_embeddings
        self.source, self.target = nn.Embedding(sources, e), nn.Embedding(targets, e)
        self.encoder = nn.LSTM(e, n, layers, batch_first=True, dropout=dropout)
        self.decoder = nn.LSTM(e, n, layers, batch_first=True, dropout=dropout)
        self.output = nn.Linear(n, targets)
        parts = nn.ModuleList([self.source, self.target, self.encoder, self.decoder, self.output])
        self.parameters = list(parts.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.001)

    def train(self, seconds: float) -> float:
        """Target tokens a second."""
        return per_second(self.step, seconds)

    def step(self) -> int:
        """Train on a batch; its target tokens."""
        import torch
        import torch.nn.functional as F
        from torch.nn.utils.rnn import pack_padded_sequence

        batch = next(self.ours.batches)
        source, target = batch["source"], batch["target"]
        self.optimizer.zero_grad()
        read = pack_padded_sequence(self.source(source), (source != PAD).sum(1), batch_first=True, enforce_sorted=False)
        before = torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], dim=1)
        written = self.decoder(self.target(before), self.encoder(read)[1])[0]
        loss = F.cross_entropy(self.output(written).flatten(0, 1), target.flatten(), ignore_index=PAD)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return int((target != PAD).sum())


class JoeyNMT:
    """JoeyNMT's attention network by its own loader, training step and beam search, over the same pieces.

    Args:
        root: of the data.
        embedding: size of its embeddings.
        units: of its encoder in each direction, and of its decoder.
    """

    def __init__(self, root: Path, embedding: int = EMBEDDING, units: int = UNITS) -> None:
        from joeynmt.config import parse_global_args
        from joeynmt.prediction import prepare
        from joeynmt.training import TrainManager

        (root / PIECES / "model").mkdir(exist_ok=True)
        self.args = args = parse_global_args(self.settings(root / PIECES, embedding, units), rank=0, mode="train")
        self.pieces = root / PIECES
        self.model, train, self.val, self.test = prepare(args, rank=0, mode="train")
        self.manager = TrainManager(
            rank=0, model=self.model, model_dir=args.model_dir, device=args.device, n_gpu=args.n_gpu,
            num_workers=0, autocast=args.autocast, seed=args.seed, train_args=args.train, dev_args=args.test,
        )  # fmt: skip
        indices = {"eos_index": self.model.eos_index, "pad_index": self.model.pad_index}
        chosen = {"batch_size": args.train.batch_size, "batch_type": "token", "shuffle": True, "seed": args.seed}
        self.epoch = train.make_iter(**chosen, **indices, device=args.device)
        self.batches = forever(self.epoch)
        first = {"batch_size": SENTENCES, "batch_type": "sentence", "shuffle": False, "seed": 0}
        self.beginning = next(iter(self.val.make_iter(**first, **indices, device=args.device)))

    @staticmethod
    def settings(pieces: Path, embedding: int, units: int) -> dict[str, Any]:
        """Its configuration: the recipe's, so far as it has the same."""
        side = {"level": "word", "lowercase": False, "max_length": 127}
        layers = {"type": "recurrent", "rnn_type": "gru", "hidden_size": units, "num_layers": 1, "dropout": 0.0}
        layers["embeddings"] = {"embedding_dim": embedding, "scale": False, "dropout": 0.0}
        sides = {
            name: {**side, "lang": language, "voc_file": str(pieces / f"vocabulary.{language}")}
            for name, language in (("src", "en"), ("trg", "fr"))
        }
        ids = {"unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3}
        marks = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
        return {
            "name": "peer",
            "joeynmt_version": "2.3.0",
            "model_dir": str(pieces / "model"),
            "use_cuda": False,
            "fp16": False,
            "random_seed": 0,
            "data": {
                "train": str(pieces / "train"),
                "dev": str(pieces / "val"),
                "test": str(pieces / "test"),
                "dataset_type": "plain",
                **sides,
                "special_symbols": {**marks, **ids},
            },
            "testing": {"beam_size": WIDTH, "beam_alpha": -1, "eval_metrics": ["bleu"]},
            "training": {
                "optimizer": "adam",
                "learning_rate": 0.001,
                "learning_rate_min": 1e-8,
                "scheduling": "exponential",
                "clip_grad_norm": 1.0,
                "batch_size": 2048,
                "batch_type": "token",
                "normalization": "tokens",
                "loss": "crossentropy",
                "epochs": 3,
                "shuffle": True,
                "overwrite": True,
            },
            "model": {
                "encoder": {**layers, "bidirectional": True},
                "decoder": {
                    **layers,
                    "hidden_dropout": 0.2,
                    "init_hidden": "bridge",
                    "input_feeding": True,
                    "attention": "bahdanau",
                },
            },
        }

    def train(self, seconds: float) -> float:
        """Target tokens a second."""
        self.model.zero_grad()
        return per_second(self.step, seconds)

    def step(self) -> int:
        """Train on a batch, as its `train_and_validate` does; the batch's target tokens."""
        return self.learnt(next(self.batches))

    def learnt(self, batch: Any) -> int:
        """Train on a batch; its target tokens."""
        self.manager._train_step(batch)
        self.manager.clip_grad_fun(parameters=self.model.parameters())
        self.manager.optimizer.step()
        self.model.zero_grad()
        return int(batch.ntokens)

    def learn(self, epochs: float) -> float:
        """BLEU of the test part after so many epochs of a new network, in our batches and their order."""
        import sacrebleu
        import torch
        from joeynmt.prediction import predict

        for epoch in range(int(epochs)):
            self.manager.scheduler.step(epoch=epoch + 1)
            self.model.train()
            self.model.zero_grad()
            numbers = json.loads((self.pieces / f"epoch-{epoch}.json").read_text())
            for batch in torch.utils.data.DataLoader(
                self.epoch.dataset, batch_sampler=numbers, collate_fn=self.epoch.collate_fn
            ):
                self.learnt(batch)
        how = {"device": self.args.device, "n_gpu": 0, "args": self.args.test, "autocast": self.args.autocast}
        lines = predict(self.model, self.test, **how)[2]
        texts = [line.replace(" ", "").replace(SPACE, " ").strip() for line in lines]
        (self.pieces / "test.joeynmt").write_text("".join(f"{text}\n" for text in texts))
        references = (self.pieces / "test.reference").read_text().splitlines()
        return float(sacrebleu.corpus_bleu(texts, [references]).score)

    def beam(self, seconds: float) -> float:
        """Rows and steps a second."""
        from joeynmt.search import search

        self.model.eval()
        batch = self.beginning
        batch.sort_by_src_length()
        how = {"max_output_length": STEPS, "min_output_length": STEPS, "beam_size": WIDTH, "beam_alpha": -1}

        def step() -> int:
            found = search(self.model, batch, **how)[0]
            assert found.shape == (SENTENCES, STEPS), f"hypotheses of the shape {found.shape}"
            return SENTENCES * WIDTH * STEPS

        return per_second(step, seconds)


def write_pieces(root: Path) -> None:
    """Write pairs as lines of pieces, the pieces, and epochs of batches of lines, for JoeyNMT.

    Sources of `val` are those that ours decodes where its speed is measured.
    """
    import numpy as np

    from dltk import recipe
    from dltk.assemble import build_data

    data = build_data(recipe.load(RECIPE, f"data_dir={root}", "data.workers=0").settings)
    train, val, test = data.part("train"), data.part("val"), data.part("test")
    (root / PIECES).mkdir(exist_ok=True)
    decoded = [{"source": row, "target": row} for row in of_one_length(val)]
    for language, side, vocabulary in zip(("en", "fr"), ("source", "target"), train.vocabularies, strict=True):
        names = [vocabulary._processor.id_to_piece(number) for number in range(len(vocabulary))]
        (root / PIECES / f"vocabulary.{language}").write_text("\n".join(names[FIRST:]) + "\n")
        for name, part in (("train", train), ("val", decoded), ("test", test)):
            chosen = range(len(part))
            lines = (" ".join(names[token] for token in part[number][side][:-1].tolist()) for number in chosen)
            (root / PIECES / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines))
    plan = data.plan
    for epoch in range(EPOCHS):
        places = (np.arange(*plan.bounds(epoch, step)) for step in range(plan.steps(epoch)))
        batches = [plan.samples(epoch, one).tolist() for one in places]
        (root / PIECES / f"epoch-{epoch}.json").write_text(json.dumps(batches))
    references = (test[number]["reference"] for number in range(len(test)))
    (root / PIECES / "test.reference").write_text("".join(f"{text}\n" for text in references))


WAYS = {
    "rnnsearch": lambda root: Ours(root, RECIPE, *ATTENTION),
    "rnnsearch_unsorted": lambda root: Ours(root, RECIPE, *ATTENTION, bucketed=False),
    "rnnsearch_16": lambda root: Ours(root, RECIPE, *ATTENTION, half=True),
    "rnnsearch_16_unsorted": lambda root: Ours(root, RECIPE, *ATTENTION, half=True, bucketed=False),
    "seq2seq": lambda root: Ours(root, *PLAIN),
    "bare_lstm": Bare,
    "joeynmt": JoeyNMT,
    "joeynmt_small": lambda root: JoeyNMT(root, *SMALL),
}


def main() -> None:
    """Answer until the input ends."""
    import torch

    name, root = sys.argv[1], Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print what they like
    torch.set_num_threads(1)
    translator = WAYS[name](root)
    for line in sys.stdin:
        question, value = line.split()
        print(getattr(translator, question)(float(value)), file=answers, flush=True)


if __name__ == "__main__":
    main()
