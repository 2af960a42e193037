"""How fast the processes of this machine sum over each other: measured, by processes that are started for it.

`python -m dltk.launch.doctor.exchange BACKEND` is one of them.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import IO, Any, NamedTuple

from dltk.launch.doctor.finding import Finding, fail, ok, warn

SIZES = (4, 1 << 20, 1 << 24, 1 << 26)  # bytes that are summed
SECONDS = 0.4  # that each size is measured for
LIMIT = 22.0  # seconds after which the processes are taken to hang
PROCESSES = {"gloo": 2, "nccl": 8}  # at most
SLOW = {"gloo": 0.1, "nccl": 2.0}  # GB/s of the largest size, below which something is wrong
REMEDY = {
    "gloo": "Look at GLOO_SOCKET_IFNAME, at the loopback device and at what else uses the cores.",
    "nccl": "NCCL_DEBUG=INFO dltk doctor says more; look at NCCL_P2P_DISABLE and `nvidia-smi topo -m`.",
}


def all_reduce() -> Finding:
    """Bytes a second of an all-reduce among local processes: by NCCL over the CUDA devices, or by gloo."""
    import torch

    found = torch.cuda.device_count()
    backend = "nccl" if found > 1 else "gloo"
    world = min(found if backend == "nccl" else 2, PROCESSES[backend])
    rows, said = _measured(backend, world)
    if rows is None:
        return fail(f"{backend}, {world} processes: {said}", REMEDY[backend])
    rates = [f"{_size(row['bytes'])} {row['bytes'] / row['seconds'] / 1e9:.2f} GB/s" for row in rows[1:]]
    says = f"{backend}, {world} processes: {', '.join(rates)}; 4 bytes {1e3 * rows[0]['seconds']:.2f} ms"
    rate = rows[-1]["bytes"] / rows[-1]["seconds"] / 1e9
    numbers = {"backend": backend, "processes": world, "sizes": rows}
    return ok(says, **numbers) if rate >= SLOW[backend] else warn(f"{says}: slow", REMEDY[backend], **numbers)


def _size(count: int) -> str:
    return f"{count >> 20} MiB"


def _measured(backend: str, world: int) -> tuple[list[dict[str, Any]] | None, str]:
    """What the processes measured, or None and what went wrong."""
    with _processes(backend, world) as started:
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            codes = [one.process.poll() for one in started]
            if any(codes):  # the others would wait for the one that died
                bad = next(one for one, code in zip(started, codes, strict=True) if code)
                return None, bad.last_line() or f"one died with exit code {bad.process.returncode}"
            if None not in codes:
                started[0].out.seek(0)
                return json.loads(started[0].out.read().splitlines()[-1]), ""
            time.sleep(0.05)
    return None, f"no answer within {LIMIT:.0f} s"


class _Started(NamedTuple):
    """A process, and the files without a name that take what it prints: a pipe could be full."""

    process: "subprocess.Popen[bytes]"
    out: IO[bytes]
    err: IO[bytes]

    def last_line(self) -> str:
        """What it said last."""
        self.err.seek(0)
        lines = self.err.read().decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


@contextlib.contextmanager
def _processes(backend: str, world: int) -> Iterator[list[_Started]]:
    """The processes; none is left afterwards, whatever happens."""
    from dltk.launch.processes import free_port

    started: list[_Started] = []
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    with contextlib.ExitStack() as files:
        try:
            for rank in range(world):
                environment = {**os.environ, **address, "RANK": str(rank), "WORLD_SIZE": str(world)}
                command = [sys.executable, "-m", __name__, backend, str(os.getpid())]
                out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
                process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )
                started.append(_Started(process, out, err))
            yield started
        finally:
            for one in started:
                if one.process.poll() is None:
                    os.killpg(one.process.pid, signal.SIGKILL)
                    one.process.wait()


def main(backend: str, parent: int) -> None:
    """Measure as one process of several, and print the rows as JSON: `bytes`, `seconds` of one all-reduce."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import torch
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=timedelta(seconds=LIMIT))
    rows = [{"bytes": size, "seconds": _seconds_of(size, device)} for size in SIZES]
    if rank == 0:
        print(json.dumps(rows), flush=True)
    dist.destroy_process_group()


def _seconds_of(size: int, device: Any) -> float:
    """Seconds that summing so many bytes takes in the mean; wrong sums are an error."""
    import torch
    import torch.distributed as dist

    world = dist.get_world_size()
    numbers = torch.full((size // 4,), float(dist.get_rank() + 1), device=device)
    dist.all_reduce(numbers)
    if not bool((numbers == world * (world + 1) / 2).all()):
        raise RuntimeError(f"the sum of {size} bytes over {world} processes is wrong")
    once = torch.tensor(_timed(numbers, 1, device), device=device)
    dist.all_reduce(once, op=dist.ReduceOp.MAX)  # so that all repeat it equally often
    return _timed(numbers, max(1, min(100, int(SECONDS / float(once)))), device)


def _timed(numbers: Any, times: int, device: Any) -> float:
    import torch
    import torch.distributed as dist

    numbers.zero_()  # so that no repetition runs into infinity
    dist.barrier()
    began = time.perf_counter()
    for _ in range(times):
        dist.all_reduce(numbers)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / times


def _end_with(parent: int) -> None:
    """Leave when the process that started this one is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
