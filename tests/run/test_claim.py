"""Claims and their verdicts."""

import math

import pytest

from dltk.run.claim import Claim, verdict

ERROR = Claim(metric="test/top1_error", value=3.0, tolerance=0.5, seeds=5)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            [2.9, 3.1, 3.0, 2.8, 3.2],
            "PASS: test/top1_error 3.00 ± 0.20 (5 seeds), claimed 3 ± 0.5 (single_crop, measured).",
        ),
        (
            [2.0, 2.1, 2.2, 2.1, 2.0],
            "PASS: test/top1_error 2.08 ± 0.10 (5 seeds), claimed 3 ± 0.5 (single_crop, measured), "
            "better than claimed.",
        ),
        (
            [4.0, 4.2, 3.8, 4.1, 3.9],
            "FAIL: test/top1_error 4.00 ± 0.20 (5 seeds), claimed 3 ± 0.5 (single_crop, measured): off by 1.",
        ),
        (
            [3.0],
            "UNTESTED: test/top1_error 3 (1 seed), claimed 3 ± 0.5 (single_crop, measured): 4 of 5 seeds are missing.",
        ),
        ([], "UNTESTED: test/top1_error: no run yet; claimed 3 ± 0.5 (single_crop, measured) needs 5 seeds."),
        (
            [3.0, math.nan],
            "FAIL: test/top1_error: 1 of 2 seeds gave no number; claimed 3 ± 0.5 (single_crop, measured).",
        ),
    ],
)
def test_the_whole_line(values: list[float], line: str) -> None:
    assert verdict(values, ERROR).line == line


@pytest.mark.parametrize(
    ("metric", "value", "word", "better"),
    [
        ("test/top1_error", 2.0, "PASS", True),
        ("test/top1_error", 4.0, "FAIL", False),
        ("val/loss", 2.0, "PASS", True),
        ("test/perplexity", 4.0, "FAIL", False),
        ("test/word_error_rate", 2.0, "PASS", True),
        ("test/bleu", 4.0, "PASS", True),
        ("test/bleu", 2.0, "FAIL", False),
        ("error_study/accuracy", 4.0, "PASS", True),
        ("test/top1_error", 3.5, "PASS", False),
        ("test/bleu", 2.5, "PASS", False),
    ],
)
def test_the_metrics_name_says_what_is_better(metric: str, value: float, word: str, better: bool) -> None:
    found = verdict([value], Claim(metric=metric, value=3.0, tolerance=0.5))
    assert found.text == word
    assert ("better than claimed" in found.line) == better
    assert (found.low, found.high, found.n) == (None, None, 1)


def test_the_tolerance_is_meant_in_decimals() -> None:
    assert verdict([0.3], Claim(metric="error", value=0.1, tolerance=0.2)).text == "PASS"  # 0.3 - 0.1 > 0.2 in binary
