"""The program in which W&B lives, started by `tracking.py` and standing on its own.

Reads one JSON object a line from its input (init, log, show, finish) and answers each. Everything that W&B itself
prints goes to the log. When the input ends without a finish, the training has died: the run is ended as crashed.
Whatever hangs, this process ends.
"""

import base64
import io
import json
import os
import signal
import sys
import threading
from typing import Any

_ABANDONED = 30.0  # seconds for the last upload after the training has died


class Conversation:
    """One W&B run, told line by line.

    Args:
        pid: process number of the training, whose use of the machine W&B shows.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.run: Any = None

    def init(self, request: dict[str, Any]) -> None:
        """Starts the run."""
        import wandb

        settings = wandb.Settings(
            mode=request["mode"],
            resume="allow",
            silent=True,
            console="off",
            init_timeout=request["init_timeout"],
            login_timeout=request["init_timeout"],
            # No code, arguments, diff, packages or machine: environment.json in the run folder has what is told.
            disable_code=True,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            program="dltk",
            x_stats_pid=self.pid,
            **request["settings"],
        )
        self.run = wandb.init(settings=settings, config=request["config"])
        # W&B counts its own steps, which begin anew with every offline segment: ours is the x-axis.
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def log(self, request: dict[str, Any]) -> None:
        """Logs one object of metrics."""
        self.run.log(request["values"])

    def show(self, request: dict[str, Any]) -> None:
        """Logs tables, pictures and charts, what stands beside the run, and files as an artifact."""
        import wandb

        made = {thing["name"]: _made(thing) for thing in request["things"]}
        if made:
            self.run.log({"step": request["step"], **made})
        self.run.summary.update(request["summary"])
        if request["files"] is not None:
            artifact = wandb.Artifact(f"run-{self.run.id}", type="model", metadata={"step": request["step"]})
            artifact.add_dir(request["files"])
            self.run.log_artifact(artifact)

    def finish(self, request: dict[str, Any]) -> None:
        """Ends the run; its time limit is the training's, plus what a late answer needs."""
        import wandb

        _leave_after(request["timeout"] + 5.0)
        self.run.finish(exit_code=request["exit_code"])
        wandb.teardown()  # waits for the service, which writes the last lines only when it ends


def _made(thing: dict[str, Any]) -> Any:
    """A thing in W&B's own type."""
    import wandb

    if thing["kind"] == "images":
        return [_image(one["png"], one["caption"]) for one in thing["images"]]
    if thing["kind"] == "table":
        rows = [[_image(cell["png"]) if isinstance(cell, dict) else cell for cell in row] for row in thing["rows"]]
        return wandb.Table(columns=thing["columns"], data=rows)
    assert thing["kind"] == "confusion", thing["kind"]
    names = thing["classes"]
    rows = [
        [names[right], names[chosen], count]
        for right, row in enumerate(thing["counts"])
        for chosen, count in enumerate(row)
    ]
    columns: list[Any] = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=columns, data=rows),
        fields={column: column for column in columns},
        string_fields={"title": thing["title"]},
    )


def _image(png: str, caption: str | None = None) -> Any:
    import wandb
    from PIL import Image

    return wandb.Image(Image.open(io.BytesIO(base64.b64decode(png))), caption=caption)


def main() -> None:
    """Answers each line of the input with one, `{}` or `{"warning": …}`, until it ends."""
    answers = os.fdopen(os.dup(1), "w")  # not inherited by what W&B starts
    os.dup2(2, 1)  # what W&B prints goes where its errors go
    # A batch system tells every process of a job to stop; the training decides when this one does.
    signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP}
    )
    conversation = Conversation(int(sys.argv[1]))
    request: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        try:
            getattr(conversation, request["do"])(request)
        except Exception as error:
            answer = {"warning": " ".join(str(error).split())[:300] or type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)
    if conversation.run is not None and request["do"] != "finish":
        conversation.finish({"timeout": _ABANDONED, "exit_code": 1})


def _leave_after(seconds: float) -> None:
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
    # W&B's exit hooks wait for a service that may be waiting for the network.
    _leave_after(5.0)
