"""A segmentation task on the scans of a data module: what ``test --out`` and ``predict`` leave behind for masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covidct.cli.prediction_rows import PredictionRows
from covidct.metrics import SEGMENTATION_SCORES, segmentation_scores
from covidct.report import write_segmentation_csv, write_segmentation_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytorch_lightning as pl

    from covidct.sample import Batch
    from covidct.tasks import SegmentationTask

__all__ = ("ScanRows", "write_segmentations")


class ScanRows(PredictionRows):
    """Collects one row per predicted scan and lets the masks go.

    Attributes:
        rows: per scan ``id``, ``volume_ml_<lung>`` and, where asked for, ``dice_<lung>``, ``hd95_<lung>`` (mm) and
            ``surface_dice_<lung>``.

    Args:
        scored: compare with ``lung_mask``.
    """

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: SegmentationTask,  # type: ignore[override]
        outputs: Mapping[str, Any],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the rows of a batch."""
        lungs = pl_module.class_names[1:]
        scores: list[list[list[float]]] = []
        if self.scored:
            pl_module.check_target(batch)
            scores = segmentation_scores(
                outputs["mask"],
                batch["lung_mask"],
                structures=len(lungs),
                spacing=batch.get("spacing"),
                tolerance_mm=pl_module.tolerance_mm,
            ).tolist()
        for index, name in enumerate(outputs["id"]):
            row = {"id": name}
            for place, score in enumerate(SEGMENTATION_SCORES if scores else ()):
                row |= {f"{score}_{lung}": values[place] for lung, values in zip(lungs, scores[index], strict=True)}
            volumes = outputs["volume_ml"][index].tolist()
            self.rows.append(row | {f"volume_ml_{lung}": ml for lung, ml in zip(lungs, volumes, strict=True)})


def write_segmentations(rows: list[dict[str, Any]], out: Path, *, run: Mapping[str, Any]) -> None:
    """Write ``metrics.json`` (means over scans, and each scan) and ``scores.csv`` into a folder.

    Args:
        rows: of :class:`ScanRows`.
        out: the folder; made when absent.
        run: what made them.
    """
    write_segmentation_json(rows, out / "metrics.json", run=run)
    write_segmentation_csv(rows, out / "scores.csv")
