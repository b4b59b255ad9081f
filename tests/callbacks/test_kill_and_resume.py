"""A training that SIGKILL ends at any moment goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import covidct

ROOT = Path(covidct.__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the trainings are forks of one process")
def test_twenty_of_twenty_killed_trainings_end_like_one_that_was_left_alone(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.callbacks.killed_trainings", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())

    batches: dict[str, list[str]] = found["batches"]
    assert {place.partition("/")[0] for place in batches} == {"0", "1", "2"}

    assert len(found["kills"]) == 20
    assert any(kill["entries"] < 8 for kill in found["kills"]), "none fell into the writing of the cache"
    assert any(kill["files"] > 0 for kill in found["kills"])
    for kill in found["kills"]:
        assert kill["resumed"]
        assert kill["same"] == {"state": True, "best": True, "batches": True}, kill
        assert kill["contradictions"] == kill["leftovers"] == 0, kill
        assert kill["steps"] <= len(batches) + 1, "one step at most is repeated"
