"""W&B: installed, and where its lines will go."""

from dltk.launch.doctor.finding import Finding, info
from dltk.run.tracking import decide


def wandb() -> Finding:
    """What `log.wandb=auto` becomes on this machine; a server that is logged in at gets two seconds to answer."""
    mode, line = decide("auto")
    return info(line.removeprefix("W&B: ").rstrip("."), mode=mode)
