"""A billion samples in a hundred thousand shards, on files with holes: as large as the real ones, nearly empty.

What is read in the test is written: the index's entries of those samples, and their bytes in shards that are otherwise
holes. The same way goes a training: set, plan, reader, loader of rank 3 of 8.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from dltk.data.plan import Plan, share
from dltk.data.shards.index import COLUMNS, SHARD, IndexWriter
from dltk.data.shards.tar import BLOCK
from tests.data.shards.test_tar import member

SHARDS, EACH = 100_000, 10_000
TOTAL = SHARDS * EACH
KEY = "s{:09d}"  # ten bytes
SIZE = 4 * BLOCK  # of a sample: header and contents, twice
RANK, WORLD, BATCH, LANES, WINDOW, SEED = 3, 8, 256, 64, 4096, 7
STEPS = TOTAL // BATCH
CHOSEN = (0, 1, 2, STEPS // 3, 9 * STEPS // 10, 9 * STEPS // 10 + 1, STEPS - 1, STEPS + 5)  # the last of epoch 1

READ = """
import json, sys, time
import torch

def resident(peak=False):
    if sys.platform == "darwin":
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # Not by getrusage: on Linux its maximum begins with that of the process that started this one.
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(lines["VmHWM" if peak else "VmRSS"].split()[0]) / 1024

folder, rank, world, batch, seed, *steps = sys.argv[1], *map(int, sys.argv[2:])
opened = []
def note(event, what):
    if event == "open" and folder in str(what[0]):
        opened.append(str(what[0]))

sys.addaudithook(note)
before, began = resident(), time.perf_counter()
from dltk.data.loader import Digest, Reader, TrainLoader
from dltk.data.plan import Plan
from dltk.data.shards.dataset import Shards

class Plain(Shards):
    "Bytes instead of pictures."

    decodes = False

    def batch(self, numbers):
        fields = [self.fields(number) for number in numbers.tolist()]
        return {"image": torch.tensor([list(one["bin"]) for one in fields], dtype=torch.uint8),
                "target": torch.tensor([int(one["cls"]) for one in fields])}

part = Plain("train", folder, folder="set", image_size=8)
plan = Plan(part.shard_sizes, seed=seed, batch=batch, lanes=part.lanes, window=part.window)
stop, digest, seconds, found = plan.first_step(2), Digest(), [], []
at = [0]
loader = TrainLoader(Reader(part, part.keys, seed=seed), plan, rank=rank, world=world,
                     span=lambda: (0, stop), start=lambda: at[0])
assert len(loader) == stop
for step in steps:
    at[0], since = step, began if step == steps[0] else time.perf_counter()
    one = next(iter(loader))
    seconds.append(time.perf_counter() - since)
    info = one["info"]
    digest.update(info.places, info.hashes)
    digest.close_batch()
    found.append([info.step, info.epoch, list(info.keys), one["image"][:, 0].tolist(), one["target"].tolist()])
print(json.dumps({"megabytes": resident(True) - before, "seconds": seconds, "found": found, "opened": opened,
                  "steps": stop}))
"""


def chosen_samples() -> list[np.ndarray]:
    """The samples that the rank reads at the chosen steps."""
    plan = Plan(np.full(SHARDS, EACH), seed=SEED, batch=BATCH, lanes=LANES, window=WINDOW)
    found = []
    for step in CHOSEN:
        epoch, number = plan.locate(step)
        found.append(plan.samples(epoch, share(*plan.bounds(epoch, number), rank=RANK, world=WORLD)))
    return found


def write_set(root: Path, numbers: list[int]) -> None:
    """A set whose index is as large as that of a billion samples; entries and shards of these samples are filled in."""
    place = root / "set" / "train" / "index"
    writer = IndexWriter(place)
    writer.add_shard(name="x.tar", bytes=1, sha256="0" * 64, offsets=[0], sizes=[1], keys=["k"], targets=[0])
    writer.finish(fields=["bin", "cls"], classes=["zero", "one"])
    about = json.loads((place / "index.json").read_text())
    (place / "index.json").write_text(json.dumps({**about, "samples": TOTAL, "shards": SHARDS}))
    table = np.zeros(SHARDS, SHARD)
    table["count"], table["bytes"] = EACH, EACH * SIZE
    np.save(place / "shards.npy", table)
    (place / "names.txt").write_text("".join(f"{number:06d}.tar\n" for number in range(SHARDS)))
    columns = {name: column(place / f"{name}.npy", kind) for name, kind in COLUMNS.items()}
    with (place / "keys.bin").open("r+b") as keys:
        keys.truncate(len(KEY.format(0)) * TOTAL)
        columns["key_ends"][-1] = len(KEY.format(0)) * TOTAL
        for number in numbers:
            key = KEY.format(number).encode()
            columns["offsets"][number], columns["sizes"][number] = number % EACH * SIZE, SIZE
            columns["key_ends"][number - 1 : number + 1] = np.array([number, number + 1]) * len(key)
            keys.seek(number * len(key))
            keys.write(key)
            write_sample(root / "set" / "train", number)


def column(path: Path, kind: str) -> np.ndarray:
    """A column of the index for all samples, a hole."""
    np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(kind), shape=(TOTAL,))
    return np.load(path, mmap_mode="r+")


def write_sample(place: Path, number: int) -> None:
    shard, within = divmod(number, EACH)
    path = place / f"{shard:06d}.tar"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(EACH * SIZE)
        file.seek(within * SIZE)
        file.write(member(f"{KEY.format(number)}.bin", bytes([number % 251])))
        file.write(member(f"{KEY.format(number)}.cls", b"%d" % (number % 2)))


def test_a_billion_samples_in_a_hundred_thousand_shards(tmp_path: Path) -> None:
    wanted = chosen_samples()
    write_set(tmp_path, sorted({int(number) for numbers in wanted for number in numbers}))
    used = sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*") if path.is_file())
    apparent = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    arguments = [str(number) for number in (RANK, WORLD, BATCH, SEED, *CHOSEN)]
    command = [sys.executable, "-c", READ, str(tmp_path), *arguments]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    seconds = ", ".join(f"{one:.2f}" for one in said["seconds"])
    print(f"\n{said['megabytes']:.0f} MB above `import torch`; seconds to a batch, from the import on: {seconds}")
    print(f"the set is {apparent / 1e9:,.0f} GB large, and takes {used / 1e6:.0f} MB")
    assert said["steps"] == 2 * STEPS
    for (step, epoch, keys, values, targets), place, numbers in zip(said["found"], CHOSEN, wanted, strict=True):
        assert (step, epoch) == (place, place // STEPS)
        assert keys == [KEY.format(number) for number in numbers]
        assert values == [number % 251 for number in numbers.tolist()]
        assert targets == [number % 2 for number in numbers.tolist()]
    shards = {f"{number // EACH:06d}.tar" for numbers in wanted for number in numbers.tolist()}
    assert {Path(path).name for path in said["opened"] if path.endswith(".tar")} == shards
    assert len(said["opened"]) < len(shards) + 20  # no file that is not needed
    assert said["megabytes"] <= 300
