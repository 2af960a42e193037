"""Skip-gram in a process of its own: `python skipgrams.py NAME ROOT`.

It answers `train SECONDS` by the words of the text a second that it trains on while it lasts, words left out at random
counted, as both programs count them. ROOT holds the text (`bible`). NAMEs: `gensim`; `shared`, whose batches share
their negatives; `own`, which draws each pair its own. All have vectors of 100 numbers, windows of 5, 5 negatives,
compute on one thread, and a second is one of the process's own.

It runs in gensim's environment too, so each way imports what it needs.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

SIZE, WINDOW, NEGATIVES, SUBSAMPLE, LEAST = 100, 5, 5, 1e-3, 5


def ours(root: Path, shared: int, tokens: int) -> Callable[[], int]:
    """One step of the recipe on the next batch, of so many words; its words."""
    from dltk.assemble import build

    settings = (
        f"task.shared={shared}",
        f"task.window={WINDOW}",
        f"task.negatives={NEGATIVES}",
        f"batch.tokens={tokens}",
    )
    task, data = build("skipgram_bible", *settings, f"model.size={SIZE}", f"data_dir={root}", "data.workers=0")
    task.require(data.part("train"))
    optimizer = task.procedure.optimizer(task.model)
    loader, epoch = data.train_dataloader(), []

    def step() -> int:
        if not epoch:
            epoch.append(iter(loader))
        batch = next(epoch[0], None)
        if batch is None:
            epoch.clear()
            return step()
        optimizer.zero_grad()
        measures = task.measure(batch)
        (measures["loss"] / measures["weight"]).backward()
        optimizer.step()
        return int(measures["weight"])

    return step


def gensim(root: Path) -> Callable[[], int]:
    """One pass of gensim's over the text; its words."""
    from gensim.models import Word2Vec

    lines = [re.findall(r"\w+", line.lower()) for line in (root / "bible" / "train.txt").read_text().splitlines()]
    model = Word2Vec(
        vector_size=SIZE, window=WINDOW, negative=NEGATIVES, sample=SUBSAMPLE, min_count=LEAST, sg=1, workers=1, seed=0
    )
    model.build_vocab(lines)
    count = sum(word in model.wv.key_to_index for line in lines for word in line)

    def step() -> int:
        model.train(lines, total_examples=len(lines), epochs=1)
        return count

    return step


WAYS: dict[str, Callable[[Path], Callable[[], int]]] = {
    "gensim": gensim,
    "shared": lambda root: ours(root, 64, 16384),
    "own": lambda root: ours(root, 0, 4096),  # each pair gathers 500 numbers, which should stay in the cache
}


def main() -> None:
    """Answer questions until there are no more."""
    os.environ["OMP_NUM_THREADS"] = "1"
    step = WAYS[sys.argv[1]](Path(sys.argv[2]))
    for line in sys.stdin:
        _, seconds = line.split()
        done, began = 0, time.process_time()
        while time.process_time() - began < float(seconds):
            done += step()
        print(done / (time.process_time() - began), flush=True)


if __name__ == "__main__":
    main()
