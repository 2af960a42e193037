"""Golden comparisons on runs that were made for it: what is there is found, what is not there is not claimed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dltk.compare import seen as module
from dltk.compare.brief import Value
from dltk.compare.comparison import Asked, Comparison, compare, cost
from dltk.compare.curves import aligned, common_end
from dltk.compare.differences import compared, ties
from dltk.compare.groups import Group, grouped
from dltk.compare.results import Quantity, cell
from dltk.compare.seen import Seen, see, see_all
from dltk.errors import LaunchError
from dltk.run.statistics import mcnemar
from tests.compare.generated import attempt, lines, made, seen

ERROR = Quantity("test/top1_error", "reported", "single_crop", "best")
SAMPLES = 1000


def wrong(share: float, seed: int) -> np.ndarray:
    """Samples that a network has wrong: every network finds the same ones hard."""
    hard = np.random.default_rng(99).random(SAMPLES)
    return hard + np.random.default_rng(seed).normal(0, 0.05, SAMPLES) < share


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """Five seeds at a rate of 0.1 with 20 % wrong, and five at 0.01 with 14 %."""
    runs = tmp_path_factory.mktemp("two") / "runs"
    found = []
    for rate, share in ((0.1, 0.2), (0.01, 0.14)):
        for seed in range(5):
            changes = {"optimizer.lr": rate, "train.seed": seed, "log.every_steps": seed + 1}
            claim = {"metric": "test/top1_error", "value": 14.0, "tolerance": 2.0, "seeds": 5}
            name = f"small/lr={rate},seed={seed}"
            found.append(seen(runs, name, {**changes, "claim": claim}, wrong=wrong(share, 10 * seed + int(100 * rate))))
    return found


def test_a_real_difference_is_found(two: list[Seen]) -> None:
    found = compare(two)
    assert [(group.name, len(group.runs)) for group in found.groups] == [("lr=0.1", 5), ("lr=0.01", 5)]
    assert [(one.key, one.values, one.harmless) for one in found.settings] == [
        ("optimizer.lr", [["0.1"], ["0.01"]], False),
        ("log.every_steps", [["1", "2", "3", "4", "5"]] * 2, True),
    ]
    assert found.primary == ERROR
    (one,) = found.differences
    assert (one.verdict, one.by, one.pairs, one.count) == ("better", "seed", 5, SAMPLES)
    assert one.seeds is not None
    assert one.samples is not None
    assert one.seeds.test == "paired t"
    assert one.samples.test == "paired bootstrap"
    assert one.seeds.mean == pytest.approx(-6, abs=1)
    assert one.samples.mean == pytest.approx(one.seeds.mean)
    assert one.adjusted == one.p is not None
    assert max(one.p or 1, one.samples.p or 1) < 0.01
    assert [row[found.quantities.index(ERROR)] for row in found.bold] == [False, True]
    assert [claim and claim.text for claim in found.claims] == ["FAIL", "PASS"]
    assert found.notes == []


def test_every_number_says_what_it_is_of(two: list[Seen]) -> None:
    found = compare(two)
    assert [(one.metric, one.of, one.selecting) for one in found.quantities] == [
        ("test/top1_error", "reported", False),
        ("val/top1_error", "best", True),
        ("train/loss", "final", False),
    ]
    reported, best, final = found.cells[0]
    assert set(reported.steps.values()) == {300}
    assert set(best.steps.values()) == set(final.steps.values()) == {400}
    assert (best.mean, final.mean) == (10 + 100 / 400, 1 / 400)
    values = list(reported.values.values())
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (reported.low, reported.high) == pytest.approx(expected)
    count = round(float(np.mean(values)) * SAMPLES / 100)
    exact = stats.binomtest(count, SAMPLES).proportion_ci(0.95, method="exact")
    assert reported.sampling == pytest.approx((100 * exact.low, 100 * exact.high))
    # What was measured on the part that chose the checkpoint is marked too.
    chosen = replace(two[0], evaluation={**two[0].evaluation, "split": "val", "metrics": {"val/top1_error": 1.0}})
    assert compare([chosen]).quantities[0] == Quantity("val/top1_error", "reported", "single_crop", "best", True)


def test_one_run_each_is_tested_by_sample_alone(two: list[Seen]) -> None:
    (one,) = compare([two[0], two[5]]).differences
    assert (one.by, one.verdict, one.count) == ("sample", "better", SAMPLES)
    a, b = wrong(0.2, 10), wrong(0.14, 1)
    assert one.p == pytest.approx(mcnemar(int((a & ~b).sum()), int((b & ~a).sum())))
    assert one.seeds is not None
    assert one.seeds.p is None


def test_predictions_of_another_checkpoint_are_not_paired(tmp_path: Path) -> None:
    a, b = (
        made(tmp_path, "small/a", wrong=wrong(0.2, 1)),
        made(tmp_path, "small/b", {"optimizer.lr": 1}, wrong=wrong(0.2, 2)),
    )
    other = made(tmp_path, "small/c", {"train.seed": 1}, wrong=wrong(0.5, 3))
    path = "predictions/test-single_crop.npz"
    (b.path / path).write_bytes((other.path / path).read_bytes())
    (one,) = compare([see(a), see(b)]).differences
    assert (one.samples, one.verdict) == (None, "cannot tell")
    assert one.why == "one run, and no predictions kept of the same samples"


def imagined(values: np.ndarray) -> list[Group]:
    """Groups of runs with these errors (g, seeds), without predictions."""
    base = Seen(path=Path("none"), name="", recipe="r", status="done", settings={})
    groups = []
    for number, errors in enumerate(values):
        said = {"split": "test", "protocol": "single_crop", "checkpoint": 1, "samples": 100}
        runs = [
            replace(
                base, name=f"{number}/{seed}", settings={"train.seed": seed},
                evaluation={**said, "metrics": {"test/top1_error": float(error)}},
            )
            for seed, error in enumerate(errors)
        ]  # fmt: skip
        groups.append(Group(str(number), {}, runs))
    return groups


def test_no_difference_is_claimed_no_more_often_than_stated() -> None:
    """Of four equal settings beside each other, one in twenty comparisons as a whole may say that any differs."""
    generator, times = np.random.default_rng(1), 600
    draws = generator.normal(10, 0.5, (times, 4, 4)) + generator.normal(0, 2, (times, 1, 4))
    said = [[one.verdict for one in compared(imagined(errors), ERROR)] for errors in draws]
    alarms = np.mean([set(verdicts) != {"not shown"} for verdicts in said])
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], times, 0.05) / times
    assert 0.3 * low <= alarms <= high
    raw = np.mean([min(one.p or 1 for one in compared(imagined(errors), ERROR)) < 0.05 for errors in draws[:200]])
    assert raw > 0.07, "Holm had nothing to do"


def test_a_difference_of_known_size_is_found_and_ties_are_kept() -> None:
    generator = np.random.default_rng(2)
    found = {"better": 0, "tie": 0}
    for _ in range(50):
        errors = generator.normal([[10.0], [8.0], [8.0]], 0.3, (3, 5))
        groups = imagined(errors)
        verdicts = compared(groups, ERROR)
        found["better"] += [one.verdict for one in verdicts] == ["better", "better"]
        means = [cell(group, ERROR).mean for group in groups]
        best = ties(groups, ERROR, means)
        assert not best[0]
        found["tie"] += best[1] and best[2]
    assert found["better"] >= 45
    assert found["tie"] >= 40


def test_seeds_that_are_not_the_same_are_not_paired() -> None:
    groups = imagined(np.array([[10.0, 11.0, 12.0], [9.0, 9.5, 9.2]]))
    groups[1].runs = [replace(run, settings={"train.seed": 7 + number}) for number, run in enumerate(groups[1].runs)]
    (one,) = compared(groups, ERROR)
    assert one.seeds is not None
    assert (one.seeds.test, one.pairs) == ("Welch's t", 0)


def test_a_seed_that_gave_no_number_is_no_value(two: list[Seen]) -> None:
    broken = replace(two[0], evaluation={**two[0].evaluation, "metrics": {"test/top1_error": float("nan")}})
    found = compare([broken, *two[1:]])
    one = found.cells[0][found.quantities.index(ERROR)]
    assert (one.mean, one.wild) == (None, 1)
    assert found.notes == ["lr=0.1: 1 of its runs ended with a number that is not finite."]
    assert found.bold[0][0] is False


# Groups


def test_the_same_training_twice_counts_once(tmp_path: Path) -> None:
    runs = [seen(tmp_path, f"small/{name}", wrong=wrong(0.2, 1)) for name in ("a", "b")]
    found = compare(runs)
    assert [len(group.runs) for group in found.groups] == [1]
    assert "is left out" in found.notes[0]
    assert "has the same settings and the same seed 0" in found.notes[0]


def test_groups_by_a_key_pair_what_else_is_equal(two: list[Seen]) -> None:
    wide = [replace(run, name=f"w{run.name}", settings={**run.settings, "batch.global": 64}) for run in two]
    found = compare([*two, *wide], Asked(by=("optimizer.lr",)))
    assert [group.name for group in found.groups] == ["lr=0.1", "lr=0.01"]
    assert found.groups[0].varying == ["batch.global"]
    assert (found.differences[0].pairs, found.notes[0]) == (10, "lr=0.1: its runs also differ in batch.global.")
    assert found.claims[0] is not None
    assert found.claims[0].line.startswith("UNTESTED: test/top1_error: the runs also differ in batch.global;")
    assert compare(two, Asked(by=("seed",))).groups[1].name == "seed=1"


def test_what_does_not_exist_is_named_with_what_does(two: list[Seen]) -> None:
    for asked, said in (
        (Asked(by=("optimizer.rl",)), "--by: no run has a setting 'optimizer.rl'. Did you mean 'optimizer.lr'?"),
        (Asked(metrics=("top1_eror",)), "--metric: no run has a metric 'top1_eror'. Did you mean 'test/top1_error'?"),
        (Asked(metrics=("val/losss",)), "Did you mean 'val/loss'?"),
        (Asked(baseline="lr=0.02"), "--baseline: there is no group 'lr=0.02'. Did you mean 'lr=0.01'?"),
    ):
        with pytest.raises(LaunchError) as error:
            compare(two, asked)
        assert said in str(error.value)
    assert compare(two, Asked(baseline=two[7].name)).differences[0].verdict == "worse"


def test_a_fork_stands_by_itself(tmp_path: Path) -> None:
    found = compare([seen(tmp_path, "small/a"), seen(tmp_path, "small/b", {"train.seed": 1}, parent="small/a@10")])
    assert [group.name for group in found.groups] == ["small/a", "small/b"]
    assert "small/b was forked from small/a@10: its recipe does not tell all of it." in found.notes


# Runs that did not go straight


def of_course(found: Comparison) -> dict[str, float | None]:
    return {line.group: line.where(200.0) for line in found.curves["train/loss"]}


def test_a_resumed_run_has_no_pause_in_its_hours(tmp_path: Path) -> None:
    """Two attempts of 200 steps, a second each, with an hour between them; the second on two processes."""
    log = lines(400)
    for line in log[20:]:
        line["time"] += 3600
    attempts = [*attempt(1, 0, 200, code=85), *attempt(2, 3800, 4000, world=2)]
    run = seen(tmp_path, log=log, attempts=attempts, wrong=wrong(0.2, 1))
    assert run.status == "done"
    assert (run.hours, run.device_hours) == (400 / 3600, 600 / 3600)
    hours = run.curves["train/loss"].along["hours"]
    assert hours.tolist() == pytest.approx([step / 3600 for step in range(10, 401, 10)])
    assert run.curves["train/loss"].along["epoch"].tolist() == pytest.approx(
        [step / 100 for step in range(10, 401, 10)]
    )
    spent = cost(Group("g", {}, [run]))
    assert (spent.attempts, spent.rates["time/samples_per_second"], spent.rates["time/mfu"]) == (2, 1000.0, 0.25)


def test_an_attempt_that_left_no_end_ends_with_its_last_line(tmp_path: Path) -> None:
    attempts = [*attempt(1, 0, 100, code=85), *attempt(2, 100, None)]
    run = seen(tmp_path, log=lines(250), attempts=attempts, done=False)
    assert (run.status, run.hours) == ("lost", 250 / 3600)
    assert run.curves["train/loss"].along["hours"][-1] == pytest.approx(250 / 3600)


def test_a_crashed_run_is_compared_as_far_as_it_came(tmp_path: Path) -> None:
    whole = made(tmp_path, "small/whole", wrong=wrong(0.2, 1))
    torn = made(
        tmp_path,
        "small/torn",
        {"optimizer.lr": 9},
        log=lines(250, 2.0),
        attempts=attempt(1, 0, 250, code=1),
        done=False,
    )
    with (torn.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 260, "train/l')
    (torn.path / "summary.json").write_text('{"status": "do')
    found = compare([see(whole), see(torn)])
    assert [run.status for group in found.groups for run in group.runs] == ["done", "crashed"]
    assert found.primary == Quantity("val/top1_error", "best", selecting=True), "nothing reported is common to both"
    assert found.groups[1].runs[0].step == 250
    assert found.groups[1].runs[0].best["val/top1_error"] == Value(11.0, 200)
    assert of_course(found) == pytest.approx({"lr=0.1": 1 / 200, "lr=9": 2 / 200}, rel=0.01)
    assert common_end(found.curves["train/loss"]) == 250
    assert found.differences[0].why == "one run, and no predictions kept of the same samples"


def test_a_metric_that_one_lacks(tmp_path: Path) -> None:
    a = seen(tmp_path, "small/a", metrics={"test/top1_error": 5.0})
    b = seen(tmp_path, "other/b", {"optimizer.lr": 9}, metrics={"test/bleu": 30.0}, log=[])
    found = compare([a, b])
    assert found.primary is None
    assert found.differences == []
    assert any(note.startswith("No metric is common to two of them: small has test/top1_error") for note in found.notes)
    assert "other has test/bleu." in found.notes[-1]
    assert [len(row[0].values) for row in found.cells] == [1, 0]


def test_what_has_not_begun_is_compared_by_its_settings(tmp_path: Path) -> None:
    new = [seen(tmp_path, f"small/{rate}", {"optimizer.lr": rate}, log=[], attempts=[], done=False) for rate in (1, 2)]
    found = compare(new)
    assert [one.key for one in found.settings] == ["optimizer.lr"]
    assert (found.quantities, found.curves, found.primary) == ([], {}, None)


def test_large_logs_are_read_by_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [made(tmp_path, f"small/{seed}", {"train.seed": seed}, log=lines(100 + 100 * seed)) for seed in range(5)]
    (runs[2].path / "recipe.yaml").write_text("model: [")
    monkeypatch.setattr(module, "WORTH_IT", 0)
    monkeypatch.setattr(module, "AT_ONCE", 2)
    problems: list[str] = []
    found = see_all(runs, problems=problems)
    assert [(run.name, run.step) for run in found] == [(f"small/{seed}", 100 + 100 * seed) for seed in (0, 1, 3, 4)]
    assert [line.partition(":")[0] for line in problems] == [str(runs[2].path / "recipe.yaml")]
    with pytest.raises(LaunchError, match="cannot be read"):
        see_all(runs)


# Curves


def test_curves_are_aligned_on_any_axis(tmp_path: Path) -> None:
    """The second run takes samples twice as fast; both lose 1 / step."""
    fast = lines(200)
    for line in fast:
        line["samples"] *= 2
    groups, _ = grouped([seen(tmp_path, "small/a"), seen(tmp_path, "small/b", {"batch.global": 64}, log=fast)])
    for axis, place, values in (
        ("step", 150, (1 / 150, 1 / 150)),
        ("samples", 32 * 300, (1 / 300, 1 / 150)),
        ("epoch", 1.5, (1 / 150, 1 / 150)),
        ("hours", 150 / 3600, (1 / 150, 1 / 150)),
    ):
        found = [line.where(place) for line in aligned(groups, "train/loss", axis)]
        assert found == pytest.approx(values, rel=0.02), axis


def test_long_curves_are_thinned_to_means(tmp_path: Path) -> None:
    log = [{"step": step, "epoch": 0, "samples": step, "time": step, "train/loss": step % 2} for step in range(1, 8001)]
    (curve,) = seen(tmp_path, log=log).curves.values()
    assert len(curve.values) == 400
    assert set(curve.values.tolist()) == {0.5}
    assert curve.along["step"].tolist() == [20.0 * number for number in range(1, 401)]
