"""The runner on phantoms as small as can be: pairing, resuming, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from covidct.datasets import PhantomCTVolumes
from covidct.errors import ManifestError, UsageError
from covidct.metrics import PairedComparison
from covidct.studies import StudyData, Variant, run_comparison
from covidct.tasks import MaskedGAPResNetTask, load_task

TASK = {"backbone": "resnet18", "slice_size": None, "learning_rate": 1e-3}
TRAINER = {"accelerator": "cpu"}


def variants(*names: str, **options: Any) -> list[Variant]:  # noqa: ANN401
    return [Variant(name, MaskedGAPResNetTask, {**TASK, "pooling": name, **options}) for name in names]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    """Nine phantoms, six to train on."""
    options = {
        "size": None,
        "mask_source": "file",
        "batch_size": 3,
        "val_fraction": 0.0,
        "test_fraction": 0.34,
        "cache_dir": str(tmp_path_factory.mktemp("cache")),
    }
    return StudyData(PhantomCTVolumes(9, shape=(8, 40, 40), classes="covid_vs_rest"), options=options)


@pytest.fixture(scope="module")
def done(cohort: StudyData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PairedComparison, list[str]]:
    """A finished study of two variants and two seeds."""
    out, runs = tmp_path_factory.mktemp("study"), list[str]()
    found = run_comparison(
        variants("mean", "mask"),
        train=cohort,
        out=out,
        seeds=(0, 1),
        epochs=1,
        trainer_options=TRAINER,
        keep_checkpoints=True,
        resamples=20,
        on_run=runs.append,
    )
    return out, found["test"], runs


def kept(out: Path) -> dict[str, dict[str, Any]]:
    """Run name to its record."""
    records = [json.loads(file.read_text()) for file in sorted((out / "runs").glob("*.json"))]
    return {record["run"]: record for record in records}


def test_figures_follow_from_the_kept_predictions(done: tuple[Path, PairedComparison, list[str]]) -> None:
    out, found, runs = done
    records = kept(out)
    assert runs == ["mean-seed0", "mean-seed1", "mask-seed0", "mask-seed1"]
    assert set(records) == set(runs)
    cases = {run: record["tests"]["test"] for run, record in records.items()}
    label = np.array(cases["mean-seed0"]["label"])
    right = {}
    for name in ("mean", "mask"):
        prob = np.mean([cases[f"{name}-seed{seed}"]["prob"] for seed in (0, 1)], axis=0)
        right[name] = prob.argmax(1) == label
        assert found.reports[name].confusion == tuple(
            tuple(int(((label == t) & (prob.argmax(1) == p)).sum()) for p in (0, 1)) for t in (0, 1)
        )
    a, b = int((right["mean"] & ~right["mask"]).sum()), int((~right["mean"] & right["mask"]).sum())
    test = found.tests[0].mcnemar
    assert (test.only_a, test.only_b) == (a, b)
    assert test.p_value == pytest.approx(binomtest(a, a + b).pvalue if a + b else 1.0)


def test_no_subject_is_trained_and_tested_on(cohort: StudyData, done: tuple[Path, PairedComparison, list[str]]) -> None:
    data = cohort.build()
    data.prepare_data()
    data.setup("test")
    tested = {record.id for record in data.records("test")}
    for record in kept(done[0]).values():
        assert set(record["tests"]["test"]["id"]) == tested
    subjects = {record.subject for record in data.records("train")}
    assert not subjects & {record.subject for record in data.records("test")}


def test_predictions_are_those_of_the_kept_checkpoint(
    cohort: StudyData, done: tuple[Path, PairedComparison, list[str]]
) -> None:
    (checkpoint,) = (done[0] / "runs").glob("mask-seed1-*.ckpt")
    task = load_task(checkpoint)
    data = cohort.build()
    data.prepare_data()
    data.setup("test")
    with torch.inference_mode():
        found = [row for batch in data.test_dataloader() for row in task.predict_step(batch, 0)["prob"].tolist()]
    assert np.allclose(found, kept(done[0])["mask-seed1"]["tests"]["test"]["prob"], atol=1e-6)


def test_a_second_start_computes_only_what_is_new(
    cohort: StudyData, done: tuple[Path, PairedComparison, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found, _ = done
    before = {file: file.stat().st_mtime_ns for file in (out / "runs").iterdir()}

    def refuse(*_: object, **__: object) -> None:
        message = "a finished run is trained again"
        raise AssertionError(message)

    with monkeypatch.context() as patch:
        patch.setattr("covidct.studies.comparison.train_task", refuse)
        again = run_comparison(
            variants("mean", "mask"),
            train=cohort,
            out=out,
            seeds=(0, 1),
            epochs=1,
            trainer_options=TRAINER,
            resamples=20,
        )["test"]
        assert str(again.to_dict()) == str(found.to_dict())
        with pytest.raises(AssertionError, match="trained again"):
            run_comparison(
                variants("mean", sigma=2.0), train=cohort, out=out, seeds=(0,), epochs=1, trainer_options=TRAINER
            )
    assert {file: file.stat().st_mtime_ns for file in (out / "runs").iterdir()} == before


def test_a_seed_gives_the_same_run_and_leaves_the_random_state_alone(
    cohort: StudyData, done: tuple[Path, PairedComparison, list[str]], tmp_path: Path
) -> None:
    state, strict = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    run_comparison(variants("mask"), train=cohort, out=tmp_path, seeds=(1,), epochs=1, trainer_options=TRAINER)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.are_deterministic_algorithms_enabled() is strict
    assert kept(tmp_path)["mask-seed1"]["tests"] == kept(done[0])["mask-seed1"]["tests"]


@pytest.mark.slow
def test_variants_may_differ_in_their_data_and_be_tested_on_another(cohort: StudyData, tmp_path: Path) -> None:
    (first,) = variants("mask")
    ways = [
        replace(first, name="whole"),
        replace(first, name="lungs", data_options={"masking": "lungs"}),
        replace(first, name="crossed", test_options={"masking": "lungs"}),
        replace(first, name="back", data_options={"masking": "lungs"}, test_options={"masking": "original"}),
    ]
    low = replace(cohort, dataset=PhantomCTVolumes(9, shape=(8, 40, 40), classes="covid_vs_rest", contrast="low"))
    found = run_comparison(
        ways,
        train=cohort,
        tests={"own": cohort, "low": low},
        out=tmp_path,
        seeds=(0,),
        epochs=1,
        trainer_options=TRAINER,
        resamples=0,
    )
    assert set(found) == {"own", "low"}
    records = kept(tmp_path)
    prob = {name: record["tests"]["own"]["prob"] for name, record in records.items()}
    assert prob["whole-seed0"] != prob["lungs-seed0"]
    assert prob["whole-seed0"] != prob["crossed-seed0"]  # one training, two ways to show the test scans
    assert prob["back-seed0"] not in (prob["lungs-seed0"], prob["whole-seed0"])
    assert records["whole-seed0"]["tests"]["low"]["prob"] != prob["whole-seed0"]


def test_what_cannot_be_compared_is_refused(cohort: StudyData, tmp_path: Path) -> None:
    def run(ways: list[Variant], seeds: tuple[int, ...] = (0,), **options: Any) -> None:  # noqa: ANN401
        run_comparison(
            ways, train=cohort, out=tmp_path, seeds=seeds, trainer_options=TRAINER, **{"epochs": 1, **options}
        )

    for names in ([], ["mask", "mask"], ["mean", "../x"]):
        with pytest.raises(UsageError, match="another name"):
            run([Variant(name, MaskedGAPResNetTask) for name in names])
    for seeds in ((), (1, 1), (-1,)):
        with pytest.raises(UsageError, match="seeds"):
            run(variants("mask"), seeds)
    with pytest.raises(UsageError, match="epochs"):
        run(variants("mask"), epochs=0)
    everything = replace(cohort, options={**cohort.options, "test_fraction": 1.0})
    with pytest.raises(ManifestError, match="trained on"):
        run(variants("mask"), tests={"all": everything})
    assert not list(tmp_path.rglob("*.json"))
