"""``covidct convert``: what the author published, then segment and triage with it."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch

from covidct.__main__ import main
from covidct.functional import label_pixels
from covidct.models import CovidCTMaskNet, LesionMaskRCNN
from tests.fakes.checkpoint import phantom
from tests.fakes.dicom import write_series
from tests.fakes.reference_weights import ANCHORS, anchor_class, write_reference

if TYPE_CHECKING:
    from pathlib import Path

NETWORK: dict[str, Any] = {
    "backbone": "resnet18",
    "truncation": 1,
    "anchor_sizes": ANCHORS["sizes"][0],
    "anchor_ratios": ANCHORS["aspect_ratios"][0],
}


@pytest.fixture
def anchors(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The anchors of a file of the reference."""
    return anchor_class("models.mask_net.rpn", monkeypatch)(**ANCHORS)


def picture(path: Path) -> torch.Tensor:
    """A slice of 512 x 512 grey values, and (1, 1, 512, 512) as a network sees it."""
    grey = cv2.resize(np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8), (512, 512))
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), grey)
    return torch.from_numpy(grey / 255).float()[None, None]


def test_segment_with_published_lesion_weights(
    tmp_path: Path, anchors: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    theirs = LesionMaskRCNN(**NETWORK, mask_type="merge").eval()
    path, ready = write_reference(tmp_path / "seg.pth", theirs, anchors), tmp_path / "seg.ckpt"
    image = picture(tmp_path / "slice.png")
    segment = ["segment", str(tmp_path / "slice.png"), str(tmp_path / "mask.png"), "--device", "cpu", "--checkpoint"]
    assert main([*segment, str(path)]) == 3
    assert "covidct convert" in capsys.readouterr().err
    assert main(["convert", str(path), str(ready)]) == 2
    assert "set mask_type to 'ggo'" in capsys.readouterr().err
    assert main(["convert", str(path), str(ready), "--mask-type", "merge"]) == 0
    said = capsys.readouterr()
    assert f"covidct segment SCAN MASK --checkpoint {ready}" in said.out
    assert "[4, 8, 16, 32, 64]" in said.out
    assert "pictures alone" in said.err
    with torch.no_grad():
        (found,) = theirs.detect(image)
    best = {key: value[:8] for key, value in found.items()}
    expected = label_pixels(best, mask_threshold=0.5).numpy()
    between = float(found["scores"][7:9].mean())
    assert main([*segment, str(ready), "--score-threshold", str(between)]) == 0
    assert 0.001 < expected.mean() < 0.999
    written = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    assert written is not None
    assert np.count_nonzero(written != expected) <= 5, "grey values are rounded to 16 bits on the way"


def test_triage_with_published_classifier_weights(
    tmp_path: Path, anchors: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    theirs = CovidCTMaskNet(**NETWORK, num_regions=16, features=8).eval()
    path, ready = write_reference(tmp_path / "cls.pth", theirs, anchors), tmp_path / "cls.ckpt"
    for name in "abc":  # alike, so that any mean over slices is the value of one
        image = picture(tmp_path / "scan" / f"{name}.png")
    assert main(["convert", str(path), str(ready)]) == 0
    assert f"covidct triage SCANS --checkpoint {ready} --out OUT" in capsys.readouterr().out
    out = tmp_path / "out"
    triage = ["triage", str(tmp_path / "scan"), "--device", "cpu", "--no-explain", "--out", str(out), "--checkpoint"]
    assert main([*triage, str(ready)]) == 0
    with torch.no_grad():
        chance = torch.sigmoid(theirs(image)["logits"][0].double())
    with (out / "cohort.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    given = [float(row[f"prob_{name}"]) for name in ("normal", "cap", "covid")]
    np.testing.assert_allclose(given, (chance / chance.sum()).numpy(), atol=1e-4)


def test_a_window_opens_the_network_to_scans(
    tmp_path: Path, anchors: torch.nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    path, ready = write_reference(tmp_path / "seg.pth", LesionMaskRCNN(**NETWORK), anchors), tmp_path / "seg.ckpt"
    scan = write_series(tmp_path / "scan", np.rint(phantom().volume.array[:3]), spacing=(5.0, 8.0, 8.0))[1]
    segment = ["segment", str(scan), str(tmp_path / "m.png"), "--checkpoint", str(ready), "--device", "cpu"]
    assert main(["convert", str(path), str(ready)]) == 0
    assert main(segment) == 3
    assert "display values" in capsys.readouterr().err
    assert main(["convert", str(path), str(ready), "--window", "-1250", "250", "5"]) == 2
    assert main(["convert", str(path), str(ready), "--window", "-1250", "250"]) == 0
    assert "-1250 to 250 HU" in capsys.readouterr().out
    assert main([*segment, "--score-threshold", "0.9"]) == 0
    assert (tmp_path / "m.png").exists()


def test_what_is_no_file_of_the_reference_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {}}, tmp_path / "x.pth")
    assert main(["convert", str(tmp_path / "x.pth"), str(tmp_path / "x.ckpt")]) == 3
    assert "x.pth is no file of the reference" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none.pth"), str(tmp_path / "x.ckpt")]) == 3
    assert main(["convert", str(tmp_path / "x.pth"), str(tmp_path / "x.pth")]) == 2
    assert not (tmp_path / "x.ckpt").exists()
