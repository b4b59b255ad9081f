"""Lungs of real slices by the 2-D U-Net and by morphology: Dice of both against reference masks.

    python -m tests.benchmarks.bench_background DATA [--checkpoint unet2d.ckpt]

``DATA`` holds ``ct_imlab_lung3d``, ``ct_cip`` and ``ct_covid_slice_lesion`` as the tests have them. Without a
checkpoint the network of ``examples/configs/unet2d_phantom.yaml`` is trained, on phantoms alone: minutes on two cores.
Per scan the Dice of all its slices together, and the mean over the slices that have lung. The picture is in display
values, which the network takes for the window of its training. Ends with 1 when either is below 0.9 on a scan.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from covidct.__main__ import main as covidct
from covidct.functional import lung_mask_2d
from covidct.models import SliceLungSegmenter
from tests.functional.chests import dice, real_scan

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Find = Callable[[NDArray[Any]], NDArray[np.uint8]]

CONFIG = Path(__file__).parents[2] / "examples" / "configs" / "unet2d_phantom.yaml"
SCANS, LEAST = ("id001", "id002", "id003", "ct-64"), 0.9


def train(folder: Path) -> Path:
    """A checkpoint of the small network, trained on phantoms."""
    code = covidct(["fit", "-c", str(CONFIG), "--trainer.default_root_dir", str(folder)])
    assert code == 0, code
    return next(folder.rglob("last.ckpt"))


def report(name: str, image: NDArray[Any], lungs: NDArray[Any], ways: dict[str, Find]) -> float:
    """Print Dice and seconds of each way; the least Dice."""
    cells, least = [], 1.0
    stack, wanted = (array.reshape(-1, *array.shape[-2:]) for array in (image, lungs))
    with_lung = [k for k, plane in enumerate(wanted) if plane.any()]
    for what, find in ways.items():
        start = time.process_time()
        found = find(stack)
        seconds = time.process_time() - start
        whole, slices = dice(found > 0, wanted > 0), np.mean([dice(found[k] > 0, wanted[k] > 0) for k in with_lung])
        cells.append(f"{what} {whole:.3f} (slices {slices:.3f}; {1e3 * seconds / len(stack):.0f} ms a slice)")
        least = min(least, whole)
    print(f"{name}: {len(with_lung)} slices with lung, {', '.join(cells)}")
    return least


def main() -> int:
    """Print both for each scan and for the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.checkpoint or train(Path(folder))
        network, picture = (
            SliceLungSegmenter.from_checkpoint(checkpoint, assume_window=known) for known in (False, True)
        )
    least = 1.0
    for name in SCANS:
        hu, _, lungs = real_scan(args.data, name)
        assert lungs is not None
        least = min(least, report(name, hu, lungs, {"U-Net": network, "morphology": lung_mask_2d}))
    stem = args.data / "ct_covid_slice_lesion" / "015_axial0079"
    image, mask = (np.asarray(cv2.imread(f"{stem}{part}.png", cv2.IMREAD_GRAYSCALE)) for part in ("", "_lung"))
    report("a picture", image, mask > 127, {"U-Net": picture, "morphology": lung_mask_2d})
    return int(least < LEAST)


if __name__ == "__main__":
    raise SystemExit(main())
