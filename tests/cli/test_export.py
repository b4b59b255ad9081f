"""``covidct export``: what is written, told and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from covidct.__main__ import main
from covidct.tasks import BaseTask
from tests.fakes.small_tasks import write_small_task


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_task("UNet2dTask", tmp_path_factory.mktemp("export"))


def test_a_pt2_file_and_its_figures(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "lungs.pt2"
    assert main(["export", str(checkpoint), str(out)]) == 0
    said = capsys.readouterr().out
    assert "UNet2d as pt2" in said
    assert "batch x 1 x 48 x 48" in said
    assert "largest difference of prob" in said
    assert "random images: 1, 3" in said
    assert str(out) in said
    assert "Research use" in said
    found = torch.export.load(out).module()(image=torch.zeros(2, 1, 48, 48))
    assert found["prob"].shape == (2, 1, 48, 48)
    assert [path.name for path in out.parent.iterdir()] == ["lungs.pt2"]


def test_a_folder_that_from_pretrained_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_small_task("ResNeXtPlusTask", tmp_path)
    out = tmp_path / "resnext"
    assert main(["export", str(checkpoint), str(out), "--format", "safetensors", "--depth", "6"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 slices, 3 of 5 slices, 2 of 6 slices" in said
    assert type(BaseTask.from_pretrained(out)).__name__ == "ResNeXtPlusTask"


def test_notes_are_told_and_refusals_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unet = write_small_task("UNet3dTask", tmp_path)
    assert main(["export", str(unet), str(tmp_path / "u.pt2")]) == 0
    assert "must be a multiple of 2, 4 or more" in capsys.readouterr().err
    detector = write_small_task("LesionMaskRCNNTask", tmp_path)
    assert main(["export", str(detector), str(tmp_path / "d.onnx"), "--format", "onnx"]) == 2
    said = capsys.readouterr().err
    assert "non-maximum suppression" in said
    assert said.count("\n") == 1
    assert main(["export", str(tmp_path / "nothing.ckpt"), str(tmp_path / "x.pt2")]) == 3
    assert main(["export", str(unet), str(tmp_path / "x.onnx")]) == 2
    assert "choose another --format" in capsys.readouterr().err


def test_help_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for word in ("--format", "--depth", "--size", "monai-bundle", "safetensors", "nn.LSTM", "pixels per side"):
        assert word in said
