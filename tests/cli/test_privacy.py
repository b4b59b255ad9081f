"""Planted identifiers (DICOM tags, names of files, folders and users, the table) are in nothing that a run leaves.

But for the DICOM objects that are asked for, the local key ``inputs.csv``, and the user's own arguments, which
``config.yaml`` repeats: the site that is held out.
"""

from __future__ import annotations

import csv
import gzip
import logging
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml
from pyarrow import parquet

from covidct.__main__ import main
from covidct.models import LesionMaskRCNN
from tests.fakes.checkpoint import phantom
from tests.fakes.dicom import write_series
from tests.fakes.lesion_network import detect_by_grey_value, write_lesion_checkpoint

TAGS = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientComments",
    "PatientBirthName",
    "PatientMotherBirthName",
    "MilitaryRank",
    "Occupation",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "ReferringPhysicianName",
    "PhysiciansOfRecord",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "RequestingPhysician",
    "StationName",
    "DeviceSerialNumber",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "ProtocolName",
    "ImageComments",
)
PRIVATE, FOLDER, FILE, SUBJECT = "SENTINELPRIVATE", "SENTINELFOLDER", "SENTINELFILE", "SENTINELSUBJECT"
SITE, USER, HOME = "SENTINELSITE", "SENTINELUSER", "SENTINELHOME"
CLASSES = ("normal", "cap", "covid")


def sentinel(tag: str) -> str:
    return f"SENTINEL{TAGS.index(tag):02d}TAG"  # some tags hold no more than 16 characters; less is found by chance


SENTINELS = (*map(sentinel, TAGS), PRIVATE, FOLDER, FILE, SUBJECT, SITE)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Nine scans with identifiers everywhere, and the table that lists them."""
    rows = []
    for number in range(9):
        folder = tmp_path / "scans" / f"{FOLDER}-{number}"
        volume = phantom(number, CLASSES[number % 3]).volume
        names = [f"{FILE}-{index}.dcm" for index in range(len(volume.array))]
        files = write_series(folder, np.rint(volume.array), spacing=volume.spacing, names=names)
        for file in files:
            record = pydicom.dcmread(file)
            for tag in TAGS:
                setattr(record, tag, sentinel(tag))
            record.private_block(0x0011, "covidct test", create=True).add_new(0x01, "LO", PRIVATE)
            record.save_as(file)
        part = ("train", "val", "test")[number // 3]
        label = CLASSES[number % 3]
        rows.append([f"scans/{folder.name}", label, f"{SUBJECT}-{number}", part, f"{SITE}-{part == 'test'}"])
    table = tmp_path / "cohort.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "subject", "split", "site"], *rows])
    return table


def everything(folder: Path) -> dict[str, bytes]:
    """Name to bytes of all files below a folder, archives opened; names are part of what is searched."""
    found: dict[str, bytes] = {}
    for file in folder.rglob("*"):
        if not file.is_file():
            continue
        data = file.read_bytes() + str(file.relative_to(folder)).encode()
        if file.suffix == ".gz":
            data += gzip.decompress(file.read_bytes())
        if file.suffix == ".parquet":
            data += str(parquet.read_table(file).to_pydict()).encode()
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                data += b"".join(archive.read(name) for name in archive.namelist())
        found[str(file.relative_to(folder))] = data
    return found


@pytest.mark.slow
def test_a_run_leaves_no_identifier(
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    wandb: Any = pytest.importorskip("wandb")
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("COVIDCT_CACHE", str(place / "cache"))
    monkeypatch.setenv("WANDB_DIR", str(place / "runs"))
    installed = [sys.prefix, sys.base_prefix, str(Path(wandb.__file__).parent)]
    monkeypatch.setenv("HOME", str(tmp_path / HOME))
    for variable in ("USER", "LOGNAME"):
        monkeypatch.setenv(variable, USER)
    callbacks = (
        "Checkpoints",
        "GradCAMScale",
        "FigureLogger",
        "MetricsReport",
        "PredictionWriter",
        "NonFiniteGuard",
        "PrecisionMonitor",
        "ThroughputMonitor",
        "RunManifest",
    )
    config = {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "enable_progress_bar": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": "runs",
            "logger": {"class_path": "covidct.callbacks.PrivateWandbLogger", "init_args": {"save_dir": "runs"}},
            "callbacks": [{"class_path": f"covidct.callbacks.{name}"} for name in callbacks],
        },
        "model": {
            "class_path": "MaskedGAPResNetTask",
            "init_args": {"num_classes": 3, "backbone": "resnet18", "slice_size": 40},
        },
        "data": {
            "class_path": "CTVolumeDataModule",
            "init_args": {
                "dataset": {"class_path": "ManifestVolumes", "init_args": {"manifest": str(cohort)}},
                "size": 24,
                "batch_size": 3,
                "hold_out_site": f"{SITE}-True",
                "val_fraction": 0.5,
            },
        },
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    with caplog.at_level(logging.INFO):
        assert main(["fit", "-c", "config.yaml"]) == 0
        data = [
            "--data=CTVolumeDataModule",
            "--data.dataset=ManifestVolumes",
            f"--data.dataset.manifest={cohort}",
        ]
        applied = [*data, "--ckpt_path=auto", "--trainer.default_root_dir=runs", "--trainer.accelerator=cpu"]
        assert main(["test", *applied, "--out=report", "--trainer.logger=false"]) == 0
        assert main(["predict", *applied, "--out=predictions.csv", "--trainer.logger=false"]) == 0
    shown = capfd.readouterr()
    files = everything(place)
    assert any("wandb" in name for name in files)
    assert any(name.endswith("last.ckpt") for name in files)
    assert len([name for name in files if name.startswith("cache")]) >= 9
    texts = {**files, "terminal": (shown.out + shown.err + caplog.text).encode()}
    words = [word for word in (*SENTINELS, USER, HOME) if word != SITE]
    leaks = [(word, name) for word in words for name, data in texts.items() if word.encode() in data]
    leaks += [(SITE, name) for name, data in texts.items() if SITE.encode() in data and "config.yaml" not in name]
    assert leaks == []
    assert wandb.run is None, "its log ends with the command, without the traceback of a process that is cut off"
    logged = {name: data for name, data in files.items() if "wandb" in name}
    places = [str(tmp_path), *installed]
    assert [(word, name) for word in places for name, data in logged.items() if word.encode() in data] == []


def test_the_identifiers_would_be_found(cohort: Path) -> None:
    data = b"".join(everything(cohort.parent / "scans").values()) + cohort.read_bytes()
    assert len(SENTINELS) == len(set(SENTINELS)) == 31
    assert [word for word in SENTINELS if word.encode() not in data] == []


UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
INHERITED = ("PatientName", "PatientID", "PatientComments", "AccessionNumber", "StudyID", "StudyDescription")


@pytest.mark.slow
def test_of_triage_and_segment_dicom_objects_alone_name_the_patient(
    cohort: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)
    lesions = write_lesion_checkpoint(tmp_path / "lesions.ckpt")
    scans, place = cohort.parent / "scans", tmp_path / "work"
    inputs = [str(scans / f"{FOLDER}-{number}") for number in (0, 2)]
    broken = scans / f"{FOLDER}-broken" / f"{FILE}.nii.gz"
    broken.parent.mkdir()
    broken.write_bytes(b"\x1f\x8b damaged")
    arguments = ["triage", *inputs, str(broken), "--checkpoint", str(checkpoint), "--lesions", str(lesions)]
    for run in (0, 1):
        assert main([*arguments, "--dicom", "--out", str(place / "out"), *["--resume"] * run]) == 1
    assert main(["segment", inputs[0], str(place / "segment" / "lungs.nii.gz"), "--dicom"]) == 0
    written = everything(place)
    objects = {name: data for name, data in written.items() if name.endswith(".dcm")}
    rest = {name: data for name, data in written.items() if name not in objects and name != "out/inputs.csv"}
    assert {Path(name).parts[1] for name in objects} == {"dicom", "lungs_dicom"}
    kinds = {Path(name).suffix for name in rest}
    assert kinds >= {".csv", ".gz", ".html", ".json", ".npz", ".parquet"}
    uids = {str(pydicom.dcmread(file)[tag].value) for file in scans.rglob("*.dcm") for tag in UIDS}
    leaks = [
        (word, name)
        for word in (*SENTINELS, *uids, str(tmp_path))
        for name, data in rest.items()
        if word.encode() in data
    ]
    assert leaks == []
    for name, data in objects.items():
        assert [word for word in (PRIVATE, FOLDER, FILE, SUBJECT, str(tmp_path)) if word.encode() in data] == [], name
        assert [tag for tag in INHERITED if sentinel(tag).encode() not in data] == [], name
