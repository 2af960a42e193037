"""The definitions of Ray clusters: what Ray's own schema, a small one of ours for KubeRay, and shellcheck say."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = sorted(path for path in (ROOT / "cluster" / "ray").glob("*.yaml") if path.stem != "rayjob")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.cluster
@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_ray_up_accepts_it(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read(path)))
    with pytest.raises(Exception, match="workres"):
        validate_config(prepare_config({**read(path), "workres": 1}))


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_the_head_stays_and_asks_for_a_token(path: Path) -> None:
    said = read(path)
    for node in (said.get("available_node_types") or {}).values():
        spot = "spot" in yaml.safe_dump(node["node_config"]).lower()
        assert spot == (node is not said["available_node_types"][said["head_node_type"]])
    starts = [line for key in ("head", "worker") for line in said[f"{key}_start_ray_commands"] if "ray start" in line]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert "--num-gpus=0" in starts[0]
    assert said["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


# What we use of KubeRay's schema of a RayJob, version ray.io/v1, written down by hand: KubeRay's own is a part of its
# operator and in no package. It finds a misspelt or missing key of these, and says nothing of the rest.
RAYJOB: dict[str, Any] = {
    "apiVersion": str, "kind": str, "metadata": {"name": str},
    "spec": {
        "entrypoint": str, "backoffLimit": int, "shutdownAfterJobFinishes": bool, "ttlSecondsAfterFinished": int,
        "rayClusterSpec": {
            "rayVersion": str, "authOptions": {"mode": str},
            "headGroupSpec": {"rayStartParams": dict, "template": dict},
            "workerGroupSpecs": [
                {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int,
                 "rayStartParams": dict, "template": dict}
            ],
        },
    },
}  # fmt: skip
POD: dict[str, Any] = {
    "containers": [{"name": str, "image": str, "resources": {"limits": dict, "requests": dict}, "volumeMounts": list}],
    "volumes": list,
}


def differences(said: Any, schema: Any, where: str = "") -> list[str]:
    if isinstance(schema, dict):
        keys = set(said) if isinstance(said, dict) else set()
        wrong = [f"{where}.{key}" for key in sorted(keys ^ set(schema))]
        return wrong + [
            one for key in keys & set(schema) for one in differences(said[key], schema[key], f"{where}.{key}")
        ]
    if isinstance(schema, list):
        return [one for number, item in enumerate(said) for one in differences(item, schema[0], f"{where}[{number}]")]
    return [] if type(said) is schema else [where]


def test_the_rayjob_is_of_our_small_schema() -> None:
    said = read(ROOT / "cluster" / "ray" / "rayjob.yaml")
    assert not differences(said, RAYJOB)
    cluster = said["spec"]["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert not differences(workers["template"]["spec"], POD)
    assert not differences(head["template"]["spec"], {**POD, "nodeSelector": dict})  # it stays on nodes on demand
    assert cluster["authOptions"]["mode"] == "token"
    assert head["rayStartParams"]["num-gpus"] == "0"
    assert re.search(r"-m dltk drive /shared/\S+ --workers 8 --min-workers 4$", said["spec"]["entrypoint"])
    assert (workers["minReplicas"], workers["maxReplicas"]) == (4, 8)
    wrong = {**said, "spec": {**said["spec"], "backOffLimit": 3}}
    assert differences(wrong, RAYJOB) == [".spec.backOffLimit"]


@pytest.mark.cluster
def test_ray_on_slurm_is_a_sound_script() -> None:
    script = ROOT / "slurm" / "ray.sbatch"
    assert shutil.which("shellcheck"), "no shellcheck: apt-get install shellcheck"
    checked = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    answer = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (
        2,
        "dltk: give a run folder: sbatch slurm/ray.sbatch RUN --workers 32\n",
    )


@pytest.mark.cluster
def test_the_installed_ray_runs_symmetrically() -> None:
    from ray.scripts.symmetric_run import symmetric_run

    text = (ROOT / "slurm" / "ray.sbatch").read_text()
    options = {option for parameter in symmetric_run.params for option in parameter.opts}
    given = re.search(r"ray symmetric-run(.*?) -- ", text, re.DOTALL)
    assert given
    assert set(re.findall(r"--[a-z-]+", given[1])) <= options
