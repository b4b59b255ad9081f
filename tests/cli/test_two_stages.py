"""The shipped configurations of COVID-CT-Mask-Net one after the other, made small: lesions, diagnosis, test, triage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import covidct
from covidct.__main__ import main
from covidct.tasks import CovidCTMaskNetTask, LesionMaskRCNNTask, load_task
from tests.fakes.checkpoint import phantom, write_nifti

CONFIGS = Path(covidct.__file__).parents[1] / "examples" / "configs"
SMALL = [
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.max_steps=1",
    "--trainer.enable_progress_bar=false",
    "--model.init_args.truncation=2",
    "--data.init_args.size=64",
    "--data.init_args.dataset.init_args.num_subjects=12",
    "--data.init_args.dataset.init_args.slices_per_scan=2",
    "--data.init_args.dataset.init_args.shape=[16,48,48]",
    "--data.init_args.val_fraction=0.25",
    "--data.init_args.test_fraction=0.25",
]


@pytest.mark.slow
def test_lesions_then_diagnosis_then_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVIDCT_CACHE", str(tmp_path / "cache"))
    first = ["fit", f"--config={CONFIGS / 'lesion_mask_rcnn_phantom.yaml'}", *SMALL]
    assert main([*first, "--trainer.default_root_dir=first"]) == 0
    (lesions,) = Path("first").rglob("last.ckpt")
    second = ["fit", f"--config={CONFIGS / 'mask_net_phantom.yaml'}", *SMALL, f"--model.init_args.weights={lesions}"]
    assert main([*second, "--trainer.default_root_dir=second"]) == 0
    (diagnosis,) = Path("second").rglob("last.ckpt")

    detector, classifier = load_task(lesions), load_task(diagnosis)
    assert isinstance(detector, LesionMaskRCNNTask)
    assert isinstance(classifier, CovidCTMaskNetTask)
    kernel = "backbone.body.conv1.weight"  # convolutions are frozen: they are still the detector's
    assert torch.equal(classifier.model.state_dict()[kernel], detector.model.state_dict()[kernel])

    scored = ["test", f"--config={CONFIGS / 'mask_net_phantom.yaml'}", *SMALL[:1], *SMALL[5:]]
    assert main([*scored, f"--ckpt_path={diagnosis}", "--out=report", "--trainer.logger=false"]) == 0
    assert (Path("report") / "rates.csv").is_file()
    scan = write_nifti(tmp_path / "scan.nii.gz", phantom())
    assert main(["triage", str(scan), f"--checkpoint={diagnosis}", f"--lesions={lesions}", "--out=triage"]) == 0
    (result,) = (json.loads(path.read_text(encoding="utf-8")) for path in Path("triage").rglob("scan*.json"))
    assert set(result["probabilities"]) == {"normal", "cap", "covid"}
