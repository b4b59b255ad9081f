"""``covidct segment`` with an X-ray lung network: one image, folders, manifests, broken runs, refusals."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covidct.__main__ import main
from covidct.datasets import ManifestCXR
from covidct.io import content_digest, read_image
from covidct.models import XRayLungSegmenter
from covidct.weights import sha256_file
from tests.fakes.dicom import write_series
from tests.fakes.xray_lung_network import RECORD, two_boxes, write_xray_lung_checkpoint


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_xray_lung_checkpoint(
        tmp_path_factory.mktemp("network") / "lungs.ckpt", record=replace(RECORD, size=64)
    )


def write_xray(path: Path, *, width: int = 160, dtype: type = np.uint8) -> Path:
    image, _ = two_boxes(width=width)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.rint(image.array * np.iinfo(dtype).max).astype(dtype))
    return path


def cohort(folder: Path) -> list[Path]:
    """Three X-rays of unlike widths, called after patients, one in a sub-folder."""
    names = ("doe_jane.png", "roe_richard.png", "ward/doe_john.png")
    return [write_xray(folder / name, width=150 + 10 * place) for place, name in enumerate(names)]


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(*arguments: object) -> int:
    return main(["segment", *map(str, arguments)])


@pytest.mark.parametrize(("name", "dtype"), [("x.png", np.uint8), ("x.jpg", np.uint8), ("x.tif", np.uint16)])
def test_one_xray_gives_one_mask(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str], name: str, dtype: type
) -> None:
    path, out = write_xray(tmp_path / name, dtype=dtype), tmp_path / "mask.png"
    assert run(path, out, "--checkpoint", network) == 0
    expected = XRayLungSegmenter.from_checkpoint(network)(read_image(path))
    np.testing.assert_array_equal(cv2.imread(str(out), cv2.IMREAD_UNCHANGED), 255 * expected)
    assert f"{100 * expected.mean():.1f} % of the image" in capsys.readouterr().out


def test_a_folder_gives_masks_and_a_manifest(tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, out = cohort(tmp_path / "images"), tmp_path / "out"
    (tmp_path / "images" / "notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / "images" / ".hidden.png").write_bytes(files[0].read_bytes())
    assert run(tmp_path / "images", out, "--checkpoint", network) == 0
    found = rows(out)
    assert list(found[0]) == ["path", "label", "subject", "mask", "lung_area"]
    assert sorted((out / row["path"]).resolve() for row in found) == sorted(files)
    segmenter = XRayLungSegmenter.from_checkpoint(network)
    for row in found:
        path = (out / row["path"]).resolve()
        expected = segmenter(read_image(path))
        np.testing.assert_array_equal(cv2.imread(str(out / row["mask"]), cv2.IMREAD_UNCHANGED), 255 * expected)
        assert float(row["lung_area"]) == pytest.approx(expected.mean(), abs=1e-6)
        name = f"{content_digest(path)[:16]}-{sha256_file(network)[:8]}.png"
        assert row["mask"] == f"masks/{name}"
    made = [path for path in out.rglob("*") if path.is_file()]
    assert len(made) == 4
    assert not any(re.search("doe|roe|jane|richard|john", path.name) for path in made)
    assert "3 masks" in capsys.readouterr().out


def test_the_new_manifest_is_a_data_set(tmp_path: Path, network: Path) -> None:
    cohort(tmp_path / "images")
    out = tmp_path / "out"
    assert run(tmp_path / "images", out, "--checkpoint", network) == 0
    data = ManifestCXR(out / "manifest.csv")
    raw = data.load(1)
    assert raw.lung_mask is not None
    assert set(np.unique(raw.lung_mask)) == {0, 1}
    assert len({record.subject for record in data.records}) == 3


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_keeps_its_columns(tmp_path: Path, network: Path, suffix: str) -> None:
    files, table = cohort(tmp_path / "images"), tmp_path / f"xrays{suffix}"
    frame = pd.DataFrame(
        {
            "path": [str(file.relative_to(tmp_path)) for file in files],
            "label": ["covid", "normal", "normal"],
            "subject": ["a", "b", "c"],
            "split": ["train", "train", "test"],
            "mask": ["", "", ""],
            "note": ["/kept", "as, it", "is"],
        }
    )
    frame.to_csv(table, index=False) if suffix == ".csv" else frame.to_parquet(table)
    out = tmp_path / "deep" / "out"
    assert run(table, out, "--checkpoint", network) == 0
    found = rows(out)
    assert list(found[0]) == ["path", "label", "subject", "split", "note", "mask", "lung_area"]
    assert [row["note"] for row in found] == ["/kept", "as, it", "is"]
    assert [(out / row["path"]).resolve() for row in found] == files
    assert [record.split for record in ManifestCXR(out / "manifest.csv").records] == ["train", "train", "test"]


def test_a_broken_run_goes_on(tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, out = cohort(tmp_path / "images"), tmp_path / "out"
    assert run(tmp_path / "images", out, "--checkpoint", network) == 0
    before = rows(out)
    masks = {file: (out / row["mask"]) for row in before for file in files if (out / row["path"]).resolve() == file}
    masks[files[0]].unlink()
    masks[files[1]].write_bytes(b"half a picture")
    seen, call = [], XRayLungSegmenter.__call__

    def counted(self: XRayLungSegmenter, image: object) -> object:
        seen.append(image)
        return call(self, image)  # type: ignore[arg-type]

    monkeypatch.setattr(XRayLungSegmenter, "__call__", counted)
    assert run(tmp_path / "images", out, "--checkpoint", network) == 0
    assert len(seen) == 2
    assert rows(out) == before
    other = write_xray_lung_checkpoint(tmp_path / "other.ckpt", record=replace(RECORD, size=96))
    assert run(tmp_path / "images", out, "--checkpoint", other) == 0
    assert len(seen) == 5  # masks of another network are other masks


def test_what_fails_is_listed_and_the_rest_is_done(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    files = cohort(folder)
    (folder / "broken.png").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "black.png"), np.zeros((100, 100), np.uint8))
    cv2.imwrite(str(folder / "small.png"), np.eye(40, dtype=np.uint8))
    write_series(folder / "ct", np.zeros((1, 80, 80), np.int16))
    assert run(folder, out, "--checkpoint", network) == 1
    printed = capsys.readouterr()
    for name in ("broken.png", "black.png", "small.png", "ct"):
        assert re.search(rf"error: .*{name}", printed.err), name
    assert len(rows(out)) == len(files)
    for file in files:
        file.unlink()
    assert run(folder, tmp_path / "none", "--checkpoint", network) == 3
    assert not (tmp_path / "none" / "manifest.csv").exists()


def test_lateral_views_and_missing_files_of_a_manifest_fail_by_themselves(
    tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort(tmp_path)
    table = tmp_path / "xrays.csv"
    table.write_text("path,view\ndoe_jane.png,PA\nroe_richard.png,lateral\nnone.png,\n", encoding="utf-8")
    assert run(table, tmp_path / "out", "--checkpoint", network) == 1
    printed = capsys.readouterr().err
    assert "Row 2 is a view 'lateral'" in printed
    assert "none.png" in printed
    assert [row["view"] for row in rows(tmp_path / "out")] == ["PA"]


def test_an_image_without_lungs_is_noted(tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = np.full((100, 100), 200, np.uint8)
    grey[:9, :9] = 50
    cv2.imwrite(str(tmp_path / "x.png"), grey)
    assert run(tmp_path / "x.png", tmp_path / "out", "--checkpoint", network) == 0
    assert "no lungs were found" in capsys.readouterr().err
    (row,) = rows(tmp_path / "out")
    assert float(row["lung_area"]) == 0


def test_what_does_not_suit_is_refused(tmp_path: Path, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = cohort(tmp_path / "images")
    table = tmp_path / "manifest.csv"
    table.write_text("path\nimages/doe_jane.png\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "no_path.csv").write_text("file\nx.png\n", encoding="utf-8")
    (tmp_path / "gap.csv").write_text("path,label\n,covid\n", encoding="utf-8")
    for arguments, word in (
        ((*files, tmp_path / "mask.png"), "one file"),
        ((files[0], files[0]), "the X-ray itself"),
        ((table, tmp_path), "the manifest itself"),
        ((table, files[0], tmp_path / "out"), "name it alone"),
        ((tmp_path / "empty", tmp_path / "out"), "no X-ray"),
        ((tmp_path / "nowhere", tmp_path / "out"), "does not exist"),
        ((tmp_path / "no_path.csv", tmp_path / "out"), "no column path"),
        ((tmp_path / "gap.csv", tmp_path / "out"), "row 1"),
        ((files[0], table), "is a file"),
        ((files[0], tmp_path / "out", "--series", "1.2"), "--series"),
        ((files[0], tmp_path / "out", "--overlays"), "--overlays"),
    ):
        assert run(*arguments, "--checkpoint", network) in (2, 3), word
        assert word in capsys.readouterr().err
