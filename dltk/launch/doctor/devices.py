"""CUDA devices: those that torch sees, those that it should see, and what other processes have taken of them."""

import os
import shutil
import subprocess
from pathlib import Path

from dltk.launch.doctor.finding import Finding, ok, warn

TAKEN = 0.1  # of a device's memory that others may have before it is worth a word


def cuda() -> Finding:
    """The devices, their memory and the driver."""
    import torch

    driver = _driver()
    if not torch.cuda.is_available():
        return _none(driver, torch.version.cuda)
    says, busy = [], []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_properties(number).name
        says.append(f"{number}: {name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
        busy += [str(number)] if free < (1 - TAKEN) * total else []
    said = f"{'; '.join(says)}; driver {driver or 'unknown'}, torch for CUDA {torch.version.cuda}"
    numbers = {"devices": len(says), "driver": driver, "cuda": torch.version.cuda}
    if busy:
        remedy = "`nvidia-smi` shows by whom; end them, or choose others with CUDA_VISIBLE_DEVICES."
        return warn(f"{said}; others use device {', '.join(busy)}", remedy, **numbers)
    return ok(said, **numbers)


def _none(driver: str | None, built_for: str | None) -> Finding:
    """Whether it is right that there is no device."""
    numbers = {"devices": 0, "driver": driver, "cuda": built_for}
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if driver is None or hidden == "":
        return ok("no CUDA device; training runs on the CPU" + (" (hidden)" if driver else ""), **numbers)
    if built_for is None:
        remedy = "Install torch's build for CUDA."
        return warn(f"driver {driver} is here, and this torch is built for the CPU alone", remedy, **numbers)
    remedy = "Update the driver, or look at CUDA_VISIBLE_DEVICES and the container's devices."
    return warn(f"driver {driver} is here, and torch for CUDA {built_for} finds no device", remedy, **numbers)


def _driver() -> str | None:
    """The version of NVIDIA's driver; None where there is none."""
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split()
            return said[0] if said else None
        except (OSError, subprocess.SubprocessError):
            return None
    version = Path("/proc/driver/nvidia/version")
    return version.read_text().split("Module", 1)[-1].split()[0] if version.is_file() else None
