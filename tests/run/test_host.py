"""What a container's limits leave of a machine."""

from pathlib import Path

import pytest

from dltk.run import host

GB = 10**9


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inner control group of version 2, as files."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.setattr(host, "_groups", lambda controller: iter((inner, inner.parent, tmp_path)))
    monkeypatch.setattr(host, "_left_on_machine", lambda: 100 * GB)
    return inner


def test_without_limits_the_machine_decides(group: Path) -> None:
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5\n")
    (group / "cpu.max").write_text("max 100000\n")
    assert host.free_memory() == 100 * GB
    assert host.core_quota() is None


def test_the_tightest_group_decides_and_cached_files_count_as_free(group: Path) -> None:
    for folder, limit in ((group, 20 * GB), (group.parent, 16 * GB)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{10 * GB}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {3 * GB}\n")
    (group / "cpu.max").write_text("400000 100000\n")
    (group.parent / "cpu.max").write_text("150000 100000\n")
    assert host.free_memory() == 9 * GB
    assert host.core_quota() == 1.5


def test_the_older_version_of_control_groups(group: Path) -> None:
    (group / "memory.limit_in_bytes").write_text(f"{4 * GB}\n")
    (group / "memory.usage_in_bytes").write_text(f"{GB}\n")
    (group / "cpu.cfs_quota_us").write_text("50000\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (group.parent / "cpu.cfs_quota_us").write_text("-1\n")
    (group.parent / "cpu.cfs_period_us").write_text("100000\n")
    assert host.free_memory() == 3 * GB
    assert host.core_quota() == 0.5


def test_this_machine_has_some_of_each() -> None:
    assert host.free_memory() > 0
    assert host.usable_cores() >= 1
