"""benchmarks/checkpoint.py: what it counts, and what the book says that it found."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
BENCHMARK = runpy.run_path(str(ROOT / "benchmarks" / "checkpoint.py"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory was taken")
def test_only_files_that_are_new_or_changed_count_as_written(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("stays", "below/changes", "goes"):
        (tmp_path / name).write_bytes(bytes(1000))
    kept: list[bytes] = []

    def work() -> None:
        (tmp_path / "below" / "changes").write_bytes(bytes(30))
        (tmp_path / "new").write_bytes(bytes(4))
        (tmp_path / "goes").unlink()
        kept.append(np.ones(2**24).tobytes())  # 128 MB

    found = BENCHMARK["cost"](tmp_path, work)
    assert found["written_bytes"] == 34 and found["seconds"] >= 0.0
    assert found["beyond_bytes"] > 100 * 2**20


def test_medians_are_taken_over_rounds() -> None:
    rounds = [{"first": {"seconds": s, "written_bytes": 7}, "replay_bytes": 9} for s in (5.0, 1.0, 2.0)]
    assert BENCHMARK["summary"](rounds) == {"first": {"seconds": 2.0, "written_bytes": 7}}


def test_what_the_book_says_of_saving_and_loading_is_what_was_measured() -> None:
    measured = json.loads((ROOT / "book" / "results" / "bench" / "checkpoint.json").read_text())
    here, old = measured["sides"]["here"], measured["sides"][BENCHMARK["COMMIT"]]
    said = " ".join((ROOT / "book" / "troubleshooting.md").read_text().split())
    first, added, refreshed = (here[name]["written_bytes"] / 1e6 for name in BENCHMARK["SAVES"])
    assert f"Of {measured['rows']:,} pictures of 64 x 64 the first save wrote {first:.0f} MB" in said
    assert f"one after 1,000 new rows {added:.0f} MB, and one after half of all" in said
    assert f"had been refreshed {refreshed:.0f} MB; loading took {here['load']['beyond_bytes'] / 1e6:.0f} MB" in said
    assert f"the checkpoint had taken {old['load']['beyond_bytes'] / 1e6:.0f} MB" in said
    assert f"--rows {measured['rows']} --rounds {measured['rounds']}`" in said
