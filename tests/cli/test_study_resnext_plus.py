"""``covidct study resnext-plus`` on a manifest of several sites."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from covidct.__main__ import main
from tests.fakes.cohort import write_table, write_volumes

if TYPE_CHECKING:
    from pathlib import Path


def with_sites(folder: Path, sites: str) -> Path:
    """Six scans, normal, cap, covid in turn, at one-letter sites."""
    manifest = write_volumes(folder)
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return write_table(manifest, [{**row, "site": site} for row, site in zip(rows, sites, strict=True)])


def command(manifest: Path, out: Path, site: str) -> list[str]:
    small = "--backbone resnet10 --size 32 --slice_size 32 --mask-source file --epochs 1 --seeds 0 --accelerator cpu"
    cache = ["--cache-dir", str(out.parent / "cache"), "--resamples", "10", "--hold-out-site", site]
    return ["study", "resnext-plus", "--manifest", str(manifest), "--out", str(out), *small.split(), *cache]


@pytest.mark.slow
def test_a_site_that_no_network_has_seen(tmp_path: Path) -> None:
    manifest = with_sites(tmp_path, "aaabbb")
    assert main([*command(manifest, tmp_path / "out", "b"), "--rows", "N-SCA", "--keep-checkpoints"]) == 0
    study = json.loads((tmp_path / "out" / "study.json").read_text())
    assert study["run"]["hold_out_site"] == "b"
    assert study["run"]["preprocessing"]["window"] == [-1200, 600]
    report = study["sections"]["network"]["reports"]["N-SCA"]
    assert report["cases"] == 3
    assert report["slices"]["volumes"] == 3
    (run,) = (tmp_path / "out" / "runs").glob("*.json")
    assert json.loads(run.read_text())["tests"]["none"]["id"] == ["row-00004", "row-00005", "row-00006"]
    assert len(list((tmp_path / "out" / "runs").glob("*.ckpt"))) == 1


def test_a_class_at_one_site_only_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = with_sites(tmp_path, "aabaab")  # covid at b only
    assert main(command(manifest, tmp_path / "out", "b")) == 2
    assert "non_covid occurs at the site a only" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "study.json").exists()
