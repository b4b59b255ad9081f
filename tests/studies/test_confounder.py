"""What plain and mask-weighted pooling let through of a marker beside the body, for features that are fixed.

A trunk that is trained can carry the marker to the lungs' cells, since its receptive field is wider than the slice:
pooling weights cannot guard against that, and no test here says so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from covidct.errors import UsageError
from covidct.models import MaskedGAPResNet
from covidct.studies import CONFOUNDER_PHANTOMS, confounder_study, write_study
from covidct.studies.confounder import pooled_features

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.report import Study


def auroc(study: Study, section: str, pooling: str) -> float:
    """Mean over the seeds, from the reports of each seed."""
    (found,) = (s.comparison for s in study.sections if s.name == section)
    return float(np.mean([r.scores["auroc"]["covid"].value for r in found.seed_reports[pooling].values()]))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mask_weighted_pooling_keeps_its_auroc_where_plain_pooling_leans_on_the_marker(tmp_path: Path) -> None:
    study = confounder_study(out=tmp_path, resamples=10)
    assert study.sections[0].comparison.seeds == (0, 1, 2)
    loss = {p: auroc(study, "plain", p) - auroc(study, "confounded", p) for p in ("mean", "mask")}
    assert auroc(study, "plain", "mask") > 0.8
    assert abs(loss["mask"]) < 0.05
    assert loss["mean"] > 0.1


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study without meaning: every part once."""
    out = tmp_path_factory.mktemp("study")
    return confounder_study({"num_subjects": 12}, out=out, seeds=(0, 3), slice_size=64, resamples=10), out


def test_each_seed_has_scans_of_its_own_and_all_heads_judge_the_same(small: tuple[Study, Path]) -> None:
    study, out = small
    records = [json.loads(file.read_text()) for file in sorted((out / "runs").glob("seed*.json"))]
    assert len(records) == 2
    for record, seed in zip(records, (0, 3), strict=True):
        tests = record["tests"]
        assert set(tests) == {f"{t}-{p}" for t in ("plain", "confounded") for p in ("mean", "mask")}
        assert len({json.dumps([t["id"], t["label"]]) for t in tests.values()}) == 1
        for section in study.sections:
            judged = tests[f"{section.name}-mask"]
            area = roc_auc_score(judged["label"], np.array(judged["prob"])[:, 1])
            report = section.comparison.seed_reports["mask"][seed]
            assert report.scores["auroc"]["covid"].value == pytest.approx(area)
    assert records[0]["tests"]["plain-mask"]["prob"] != records[1]["tests"]["plain-mask"]["prob"]


def test_finished_seeds_are_taken_over(small: tuple[Study, Path]) -> None:
    study, out = small
    before = {file: file.stat().st_mtime_ns for file in (out / "runs").iterdir()}
    again = confounder_study({"num_subjects": 12}, out=out, seeds=(0, 3), slice_size=64, resamples=10)
    assert {file: file.stat().st_mtime_ns for file in (out / "runs").iterdir()} == before
    for one, other in zip(study.sections, again.sections, strict=True):
        assert one.comparison.to_dict()["tests"] == other.comparison.to_dict()["tests"]


def test_the_files_are_written_and_the_picture_shows_the_marker(small: tuple[Study, Path]) -> None:
    study, out = small
    assert [path.name for path in write_study(study, out)] == ["study.html", "study.json", "study.csv"]
    page = (out / "study.html").read_text()
    assert "receptive field" in page
    assert "slice of scan" in page
    assert study.preview is not None
    row, column = (round(place / 3.7 + 55.5) for place in CONFOUNDER_PHANTOMS["marker_mm"])
    plain, marked = study.preview.slices
    assert marked[row, column] == 255
    assert plain[row, column] < 128
    assert not study.preview.lung_mask[:, row, column].any()


def test_one_pass_gives_the_features_of_both_poolings() -> None:
    images, masks = torch.rand(9, 1, 64, 64), (torch.rand(9, 1, 64, 64) > 0.5).to(torch.uint8)
    masks[2] = 0
    net = MaskedGAPResNet(backbone="resnet18", slice_size=96).eval()
    found = pooled_features(net, images, masks)
    for pooling, features in found.items():
        net.pooling = pooling
        with torch.inference_mode():
            wanted, _ = net.slice_features(images[:, :, None], masks[:, :, None])
        np.testing.assert_allclose(features, wanted[:, 0].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("phantoms", "seeds", "words"),
    [
        ({"train_correlation": 0.0}, (0,), "no confounder"),
        ({"seed": 3}, (0,), "seeds of the study"),
        ({}, (), "at least one"),
        ({}, (1, 1), "different"),
    ],
)
def test_what_is_no_study_is_refused(
    phantoms: dict[str, float], seeds: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        confounder_study(phantoms, out=tmp_path, seeds=seeds)
    assert not list(tmp_path.iterdir())
