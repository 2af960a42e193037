"""The page of a comparison: whole in one file, quiet in a browser, readable at both widths, and safe to open."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltk.cli import confusion, page
from dltk.compare.seen import see
from tests.cli.conftest import Command
from tests.compare.generated import attempt, lines, made

BAD = "</script><img src=x onerror=alert(1)><b>"
HOME = Path(page.__file__).parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of two seeds with pictures, one that crashed, and what foreign folders may hold."""
    folder = tmp_path_factory.mktemp("page") / "runs"
    for rate, share in ((0.1, 0.3), (0.01, 0.2)):
        for seed in range(2):
            wrong = np.random.default_rng(seed).random(200) < share
            made(folder, f"small/lr={rate},seed={seed}", {"optimizer.lr": rate, "train.seed": seed}, wrong=wrong)
    log = [line | {f"train/{BAD}": 1.0} for line in lines(150)]
    ends = attempt(1, 0, 150, code=1)
    ends[-1]["reason"] = BAD
    odd = made(folder, "odd/torn", {"optimizer.lr": BAD}, log=log, attempts=ends, done=False)
    (odd.path / "environment.json").write_text(json.dumps({"host": BAD, "packages": {"torch": BAD}, "git": {"a": BAD}}))
    (odd.path / "environment.diff").write_text("a change that nobody should see")
    (odd.path / "first.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def written(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dltk.cli import run

    path = tmp_path_factory.mktemp("html") / "page.html"
    assert run(["compare", str(runs), "--html", str(path), "--json"]) == 0
    return path


def data(path: Path) -> dict[str, Any]:
    return json.loads(
        re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)[0]
    )


def test_all_of_the_comparison_is_in_one_file(written: Path) -> None:
    text = written.read_text()
    for words in ("optimizer.lr", "Results", "test/top1_error", "less that of small lr=0.01",
                  "paired t", "device time", "Each run",
                  "which classes are taken for which", "hidden_sizes:", "all packages"):  # fmt: skip
        assert words in text, words
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:|//)""", text)
    drawn = data(written)
    assert [group["name"] for group in drawn["groups"]] == ["odd", "small lr=0.01", "small lr=0.1"]
    names = [line["name"] for line in drawn["charts"]["train/loss"]]
    assert sorted(names) == ["odd/torn", *(f"small/lr={rate},seed={seed}" for rate in (0.01, 0.1) for seed in (0, 1))]
    line = drawn["charts"]["train/loss"][1]
    assert drawn["pool"][line["along"]["step"]][:3] == [10, 20, 30]
    assert drawn["pool"][line["values"]][:2] == [0.1, 0.05]
    assert set(line["along"]) == {"step", "samples", "epoch", "hours"}


def test_nothing_of_a_run_folder_becomes_markup(written: Path) -> None:
    text = written.read_text()
    assert BAD not in text
    assert "<img src=x" not in text
    assert text.count("<script") == text.count("</script>") == 3
    assert text.count("&lt;/script&gt;&lt;img") >= 4
    assert f"train/{BAD}" in data(written)["charts"]
    assert "nobody should see" not in text


def test_the_policy_allows_its_own_two_scripts_alone(written: Path) -> None:
    text = written.read_text()
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    assert policy.count("sha256-") == 2
    assert "unsafe-eval" not in policy


def test_the_library_is_the_published_one() -> None:
    found = hashlib.sha256((HOME / "uPlot.iife.min.js").read_bytes()).hexdigest()
    assert found == "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"  # of version 1.6.32
    assert (HOME / "uPlot.LICENSE").read_text().startswith("The MIT License (MIT)")


def test_a_page_of_twenty_long_runs_is_small(dltk: Command, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    for seed in range(20):
        log = [line | {f"train/m{at}": draw.random() for at in range(14)} for line in lines(4_000)]
        made(tmp_path / "runs", f"small/{seed}", {"train.seed": seed}, log=log, wrong=draw.random(500) < 0.1)
    assert dltk("compare", tmp_path / "runs", "--html", tmp_path / "a.html", "--json").code == 0
    size = (tmp_path / "a.html").stat().st_size
    print(f"{size / 1e6:.2f} MB")
    assert size < 5e6
    assert len(data(tmp_path / "a.html")["charts"]["train/m0"]) == 20


def test_of_very_many_runs_the_groups_are_drawn(dltk: Command, tmp_path: Path) -> None:
    for number in range(42):
        changes = {"optimizer.lr": 1.0 + number % 2, "train.seed": number // 2}
        made(tmp_path / "runs", f"small/{number:02}", changes, log=lines(100))
    assert dltk("compare", tmp_path / "runs", "--html", tmp_path / "a.html", "--json").code == 0
    names = [line["name"] for line in data(tmp_path / "a.html")["charts"]["train/loss"]]
    assert names == ["lr=1.0, mean of 21", "lr=2.0, mean of 21"]


# In a browser

FRAMES = """<body>
<iframe src="page.html" width="1200" height="800"></iframe><iframe src="page.html" width="400" height="800"></iframe>
<pre id="said"></pre>
<script>
setTimeout(() => {
  const said = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument;
    return {
      width: page.documentElement.clientWidth,
      needs: page.documentElement.scrollWidth,
      charts: page.querySelectorAll("canvas").length,
      title: page.title,
      pictures: [...page.images].every((image) => image.naturalWidth > 100),
      requests: frame.contentWindow.performance.getEntriesByType("resource").map((one) => one.name),
    };
  });
  document.getElementById("said").textContent = JSON.stringify(said);
}, 1000);
</script></body>
"""


def browsed(folder: Path, name: str) -> tuple[str, list[str]]:
    """A page's elements as a headless browser has them, and what its console says."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program, "no browser here: apt-get install chromium"
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--no-first-run", f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom", (folder / name).as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.cluster
def test_a_browser_opens_it_at_both_widths_without_a_word_or_a_request(written: Path) -> None:
    folder = written.parent
    (folder / "frames.html").write_text(FRAMES)
    text, console = browsed(folder, "frames.html")
    assert console == []
    said = json.loads(re.findall(r'<pre id="said">(.*?)</pre>', text, re.S)[0])
    assert [round(one["width"], -2) for one in said] == [1200, 400]
    for one in said:
        assert one["needs"] <= one["width"], "it is wider than the window"
        assert (one["charts"], one["requests"], one["pictures"]) == (len(data(written)["charts"]), [], True)
        assert one["title"] == "odd, small: 5 runs"
    # And where something is wrong, the browser says it.
    (folder / "wrong.html").write_text("<script>nowhere()</script>")
    assert "nowhere is not defined" in browsed(folder, "wrong.html")[1][0]


def test_the_confusion_matrix_names_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []
    real = confusion.draw_confusions

    def draw(matrix: Any, names: list[str], *more: Any) -> Any:
        shown.append(list(names))
        return real(matrix, names, *more)

    monkeypatch.setattr(confusion, "draw_confusions", draw)
    run = made(tmp_path / "runs", wrong=[True, False, False, True])
    assert page._confusions(see(run)) is not None
    run.keep_index("a", 400, ["cat", "dog", "cow"])
    assert page._confusions(see(run)) is not None
    run.keep_index("a", 500, ["cat", "dog"])  # of other data than the scores are
    assert page._confusions(see(run)) is not None
    assert shown == [["0", "1", "2"], ["cat", "dog", "cow"], ["0", "1", "2"]]
