"""A lesion detector on the slices of a data module: what ``test --out`` and ``predict`` leave behind for detections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.cli.prediction_rows import PredictionRows
from covidct.metrics import reference_mask_ap
from covidct.report import write_segmentation_csv
from covidct.report.tables import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytorch_lightning as pl
    from torch import Tensor

    from covidct.sample import Batch
    from covidct.tasks import DetectionTask

__all__ = ("SliceRows", "write_detections")


class SliceRows(PredictionRows):
    """Collects one row per predicted slice and lets the masks go.

    Attributes:
        rows: per slice ``id`` and of each lesion type ``found_<type>`` (detections), ``best_score_<type>`` (NaN without
            any) and ``area_px_<type>`` (pixels of the label map at the size that the network sees); where asked for
            also ``true_<type>`` (objects), ``true_area_px_<type>`` and ``reference_ap``, the slice's own average
            precision over the ten thresholds of :func:`covidct.metrics.reference_mask_ap`.

    Args:
        scored: compare with ``instances``.
    """

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: DetectionTask,  # type: ignore[override]
        outputs: Mapping[str, Any],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the rows of a batch."""
        if self.scored:
            pl_module.check_target(batch)
        types = list(enumerate(pl_module.class_names))[1:]
        for index, name in enumerate(outputs["id"]):
            found, mask = outputs["detections"][index], outputs["mask"][index]
            row: dict[str, Any] = {"id": name}
            for label, kind in types:
                row |= {f"{key}_{kind}": value for key, value in _of_type(found, mask, label).items()}
            if self.scored:
                row |= _truth(found, batch[pl_module.target][index], types)
            self.rows.append(row)


def _of_type(found: Mapping[str, Tensor], mask: Tensor, label: int) -> dict[str, float]:
    """Detections of one type in a slice."""
    mine = found["labels"] == label
    best = float(found["scores"][mine].max()) if bool(mine.any()) else float("nan")
    return {"found": int(mine.sum()), "best_score": best, "area_px": int((mask == label).sum())}


def _truth(found: Mapping[str, Tensor], true: Mapping[str, Tensor], types: list[tuple[int, str]]) -> dict[str, float]:
    """Objects of a slice, and how well they were found."""
    row: dict[str, float] = {}
    for label, kind in types:
        mine = true["labels"] == label
        row |= {f"true_{kind}": int(mine.sum()), f"true_area_px_{kind}": int(true["masks"][mine].any(0).sum())}
    return row | {"reference_ap": float(reference_mask_ap([found], [true]).mean())}


def write_detections(
    rows: list[dict[str, Any]], scores: Mapping[str, float], out: Path, *, run: Mapping[str, Any]
) -> None:
    """Write ``metrics.json`` (scores of the whole set) and ``scores.csv`` (one row per slice) into a folder.

    Args:
        rows: of :class:`SliceRows`.
        scores: logged by the test: losses, the reference's average precision and COCO's.
        out: the folder; made when absent.
        run: what made them.
    """
    record = {
        "kind": "covidct.detection_report",
        "version": 1,
        "research_use": RESEARCH_USE,
        "slices": len(rows),
        "objects": sum(value for row in rows for key, value in row.items() if _counts_objects(key)),
        "scores": dict(scores),
        "run": run,
    }
    write_json(record, out / "metrics.json")
    write_segmentation_csv(rows, out / "scores.csv")


def _counts_objects(key: str) -> bool:
    """Whether a column counts true objects."""
    return key.startswith("true_") and not key.startswith("true_area_px_")
