"""Ranks against a count by hand, with ties and NaN."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from dltk.metrics import target_rank


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=8), st.data())
def test_rank_equals_a_stable_sort(rows: list[list[int]], data: st.DataObject) -> None:
    targets = [data.draw(st.integers(0, 3)) for _ in rows]
    expected = [sorted(range(4), key=lambda k: (-row[k], k)).index(t) for row, t in zip(rows, targets, strict=True)]
    assert target_rank(torch.tensor(rows, dtype=torch.float32), torch.tensor(targets)).tolist() == expected


def test_nan_scores_are_wrong_about_everything() -> None:
    scores = torch.tensor([[float("nan"), 1.0], [float("nan")] * 2, [2.0, 1.0]])
    assert target_rank(scores, torch.tensor([1, 0, 0])).tolist() == [2, 2, 0]
