"""Python of the printed pages runs as it stands, page by page, on small files and arrays that are laid out for it.

Cells of the notebooks are run by the build of the documentation.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.docs.blocks import PAGES, ROOT, blocks, files
from tests.fakes.checkpoint import write_nifti
from tests.fakes.dicom import write_series
from tests.fakes.small_tasks import small_task, write_small_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from covidct.phantom import PhantomCT

    Names = dict[str, Any]

WEIGHTS, PUBLISHED = "needs weights that are fetched", "needs a published data set"
NOT_RUN = {
    "IMAGENET1K_V1": WEIGHTS,
    "lesion_mask_rcnn.ckpt": WEIGHTS,
    "segmentation_model_merged_masks.pth": "needs a file of the author",
    "DarkCovid(": PUBLISHED,
    "COVID19CTSeg(": PUBLISHED,
    "join_experts(": "needs three trained experts: the tutorial on the gate joins two",
    "resnext_plus_study(": "takes hours",
    "on_dask(": "needs a scheduler",
}
"""What a block that is not run holds, and why not."""
SHORTER = {
    "PhantomCTVolumes(30)": "PhantomCTVolumes(12, shape=(24, 32, 32))",
    "PhantomTwoContrasts(60)": "PhantomTwoContrasts(12, shape=(16, 48, 48))",
}
"""Cohorts that would take a minute, and what the tests put in their place."""


def phantom(seed: int = 0, shape: tuple[int, int, int] = (24, 64, 64)) -> PhantomCT:
    from covidct.phantom import simulate_ct

    return simulate_ct(seed, diagnosis="covid", shape=shape)


def dicom(folder: Path, seed: int = 0, **options: Any) -> list[Path]:  # noqa: ANN401
    """A phantom as a CT series."""
    volume = phantom(seed).volume
    return write_series(folder, np.rint(volume.array).astype(np.int16), spacing=volume.spacing, **options)


def xrays(folder: Path) -> None:
    """Eight X-rays of four subjects with a table."""
    import cv2
    import pandas as pd

    from covidct.phantom import simulate_cxr

    rows = []
    for number in range(8):
        picture = simulate_cxr(number, diagnosis=("normal", "covid")[number % 2], shape=(64, 64)).image.array
        cv2.imwrite(str(folder / f"{number}.png"), np.rint(picture * 255).astype(np.uint8))
        rows.append({"path": f"{number}.png", "label": ("normal", "covid")[number % 2], "subject": f"p{number // 2}"})
    for name in ("cohort.csv", "xrays.csv"):
        pd.DataFrame(rows).to_csv(folder / name, index=False)


def one_scan(folder: Path) -> Names:
    dicom(folder / "scans" / "case1")
    return {}


def a_ward(folder: Path) -> Names:
    for number in range(9):
        place = folder / "ward7" / ("normal", "cap", "covid")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        write_nifti(place / f"p{number}-1.nii.gz", phantom(number, (24, 32, 32)))
    return {}


def exported(folder: Path) -> Names:
    import torch

    from covidct.inference import export_checkpoint

    masked, plain = (write_small_task(name, folder) for name in ("MaskedGAPResNetTask", "COVNetTask"))
    export_checkpoint(masked, folder / "net.pt2")
    export_checkpoint(masked, folder / "net.onnx", format="onnx")
    export_checkpoint(plain, folder / "bundle", format="monai-bundle")
    export_checkpoint(plain, folder / "covnet", format="safetensors")
    dicom(folder / "series")
    shape = (1, 1, 5, 48, 48)
    return {"image": torch.rand(shape), "lung_mask": torch.ones(shape, dtype=torch.uint8)}


def slices_checkpoint(folder: Path) -> Names:
    write_small_task("SliceClassifierTask", folder).rename(folder / "slices.ckpt")
    return {}


def broken(folder: Path) -> Names:
    dicom(folder / "scans" / "gap")[9].unlink()
    for number in range(2):
        dicom(
            folder / "scans" / "two", number, names=[f"{number}-{i}.dcm" for i in range(24)], series_uid=f"1.2.{number}"
        )
    return {}


def radiographs(folder: Path) -> Names:
    from tests.fakes.xray_lung_network import write_xray_lung_checkpoint

    xrays(folder)
    write_xray_lung_checkpoint(folder / "best.ckpt")
    return {}


def a_cohort_of_slices(folder: Path) -> Names:
    xrays(folder)
    from covidct.functional import window_hu

    hu = phantom().volume.array[8:14]
    unit = window_hu(hu, -1250, 250)
    images = (unit * 255).astype(np.uint8)
    found: Names = {"hu": hu, "stack": unit, "images": images, "bright": unit[0], "dull": unit[0] * 0.5}
    found |= {"train_scores": [0.1, 0.12, 0.3, 0.32], "train_subjects": ["a", "b", "c", "d"]}
    return found | {"scores": [0.1, 0.3], "subjects": ["e", "f"]}


def an_archive(folder: Path) -> Names:
    dicom(folder / "archive")
    return {}


def a_task(folder: Path) -> Names:
    import torch

    from covidct.functional import window_hu
    from covidct.sample import collate
    from covidct.transforms import prepare_volume, to_sample

    task, scan = small_task("MaskedGAPResNetTask"), phantom(shape=(64, 64, 64))
    assert task.preprocessing is not None
    nobody = torch.tensor(0)
    sample = to_sample(prepare_volume(scan.volume, task.preprocessing), id="a", subject=nobody, scan=nobody)
    batch = collate([{**sample, "label": torch.tensor(1)}])
    unit = window_hu(scan.volume.array[30], -1250, 250)
    found: Names = {"task": task, "batch": batch, "training_batches": [batch], "volume": scan.volume}
    return found | {"windowed_slice": unit, "lesion_mask": scan.lesion_mask[30], "boxes": ()}


def results_and_series(folder: Path) -> Names:
    from covidct.__main__ import main

    pytest.importorskip("highdicom")
    dicom(folder / "series")
    checkpoint = write_small_task("MaskedGAPResNetTask", folder)
    assert main(["triage", "series", "--checkpoint", str(checkpoint), "--out", "out", "--no-viewer"]) == 0
    return {}


def nothing(folder: Path) -> Names:
    return {}


LAID_OUT: dict[str, Callable[[Path], Names]] = {
    "README.md": one_scan,
    "docs/explanation/metrics.md": nothing,
    "docs/explanation/splits.md": nothing,
    "docs/how-to/add_a_data_set.md": a_ward,
    "docs/how-to/add_an_architecture.md": nothing,
    "docs/how-to/choose_a_loss.md": nothing,
    "docs/how-to/export.md": exported,
    "docs/how-to/own_weights.md": slices_checkpoint,
    "docs/how-to/read_a_broken_series.md": broken,
    "docs/how-to/wandb.md": nothing,
    "docs/index.md": one_scan,
    "docs/reference/chest_xray.md": radiographs,
    "docs/reference/curation.md": a_cohort_of_slices,
    "docs/reference/data.md": an_archive,
    "docs/reference/explain.md": a_task,
    "docs/reference/gated_ensemble.md": nothing,
    "docs/reference/networks.md": nothing,
    "docs/reference/results.md": results_and_series,
    "docs/reference/studies.md": nothing,
    "docs/reference/training_at_scale.md": nothing,
}
"""What lies about and what is known where a page begins, for each page with Python in it."""


def pages() -> list[str]:
    """Pages with Python that no build runs."""
    plain = [page for page in PAGES if "file_format: mystnb" not in page.read_text(encoding="utf-8")]
    return [page.relative_to(ROOT).as_posix() for page in plain if blocks(page, "python")]


def test_every_page_is_laid_out() -> None:
    assert sorted(LAID_OUT) == sorted(pages())


@pytest.mark.slow
@pytest.mark.parametrize("page", pages())
def test_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COVIDCT_CACHE", str(tmp_path / "cache"))
    printed = files(ROOT / page)
    for name, text in printed.items():
        (tmp_path / name).write_text(text)
    importlib.invalidate_caches()
    names = {"__name__": "page", **LAID_OUT[page](tmp_path)}
    try:
        for block in blocks(ROOT / page, "python"):
            if not any(part in block.code for part in NOT_RUN):
                code = block.code
                for long, short in SHORTER.items():
                    code = code.replace(long, short)
                exec(compile(code, block.place, "exec", dont_inherit=True), names)  # noqa: S102
    finally:
        for name in printed:
            sys.modules.pop(Path(name).stem, None)


def test_what_is_not_run_is_printed_somewhere() -> None:
    code = "\n".join(block.code for page in pages() for block in blocks(ROOT / page, "python"))
    assert [part for part in (*NOT_RUN, *SHORTER) if part not in code] == []
