"""``metric_figures``: confusion matrix, ROC, precision-recall and calibration curves for files and loggers.

Drawn by matplotlib, where the pages draw SVG: loggers take pixels, and SVG would need a browser to become such.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.report.words import class_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from covidct.metrics import TriageReport

__all__ = ("figure_pixels", "metric_figures")

_SIDE = 4.6  # inches: letters of 8 points are read at 100 dots per inch
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's palette
_GRID = np.linspace(0.0, 1.0, 101)  # rates of the band, as covidct.metrics gives it


def metric_figures(report: TriageReport, prob: NDArray[Any], target: NDArray[Any]) -> dict[str, Figure]:
    """Draw what a report tells.

    Args:
        report: of the cases.
        prob: (N, C) probabilities of the same cases.
        target: (N,) their classes.

    Returns:
        ``"confusion"``, ``"roc"`` (with the band of the report), ``"precision_recall"`` and ``"calibration"`` to
        matplotlib figures free of any global state. Curves of classes without true cases, or without others, are left
        out, and figures without a curve too.
    """
    figures = {"confusion": _confusion(report)}
    if report.roc:
        figures["roc"] = _roc(report)
        figures["precision_recall"] = _precision_recall(report, prob, target)
    if any(entry.cases for entry in report.calibration):
        figures["calibration"] = _calibration(report)
    return figures


def figure_pixels(figure: Figure, *, dpi: int = 100) -> NDArray[np.uint8]:
    """A figure as (H, W, 3) uint8 red, green, blue.

    Args:
        figure: of matplotlib.
        dpi: dots per inch.

    Returns:
        (H, W, 3) uint8, 0 to 255, without transparency; H and W are the size in inches times ``dpi``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _confusion(report: TriageReport) -> Figure:
    """Counts with the share of the row below, grey by the share."""
    figure, axis = _frame(max(_SIDE, 1.1 * len(report.class_names) + 1.5))
    counts = np.array(report.confusion)
    total = counts.sum(1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count}\n{shares[row, column]:.1%}" if total[row, 0] else f"{count}"
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    names = [class_title(name) for name in report.class_names]
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names, rotation=90, va="center")
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(f"{report.cases} cases of {report.subjects} subjects", fontsize=9)
    return figure


def _roc(report: TriageReport) -> Figure:
    """Curves of each class against the rest, with the interval of the sensitivity."""
    figure, axis = _frame()
    for index, name in enumerate(report.class_names):
        if name not in report.roc:
            continue
        curve, colour = report.roc[name], _COLOURS[index % len(_COLOURS)]
        axis.plot(curve.false_positive_rate, curve.sensitivity, color=colour, label=_label(report, "auroc", name))
        if curve.low:
            axis.fill_between(_GRID, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    axis.plot((0, 1), (0, 1), color="0.6", linewidth=0.8, linestyle="--")
    _unit(axis, "1 \N{MINUS SIGN} specificity", "sensitivity")
    return figure


def _precision_recall(report: TriageReport, prob: NDArray[Any], target: NDArray[Any]) -> Figure:
    """Steps of each class against the rest; dotted the share of the class, which a guess would reach."""
    from sklearn.metrics import precision_recall_curve

    figure, axis = _frame()
    for index, name in enumerate(report.class_names):
        if name not in report.roc:
            continue
        true, colour = target == index, _COLOURS[index % len(_COLOURS)]
        precision, recall, _ = precision_recall_curve(true, prob[:, index])
        axis.step(recall, precision, where="post", color=colour, label=_label(report, "auprc", name))
        axis.axhline(float(true.mean()), color=colour, linewidth=0.8, linestyle=":")
    _unit(axis, "recall (sensitivity)", "precision")
    return figure


def _calibration(report: TriageReport) -> Figure:
    """Accuracy over confidence, the area of a dot in proportion to its cases."""
    figure, axis = _frame()
    filled = [entry for entry in report.calibration if entry.cases]
    x, y = [entry.confidence for entry in filled], [entry.accuracy for entry in filled]
    axis.plot(x, y, color=_COLOURS[0])
    axis.scatter(x, y, s=[12 + 150 * entry.cases / report.cases for entry in filled], color=_COLOURS[0])
    axis.plot((0, 1), (0, 1), color="0.6", linewidth=0.8, linestyle="--")
    error = report.scores["calibration_error"]["overall"]
    _unit(axis, "confidence of the predicted class", "share predicted right")
    axis.set_title(f"expected calibration error {error.value:.3f}{_interval(error.low, error.high)}", fontsize=9)
    return figure


def _frame(side: float = _SIDE) -> tuple[Figure, Any]:
    """A figure and its axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(side, side))  # a layout engine would draw it twice, during a training
    return figure, figure.add_axes((0.13, 0.12, 0.83, 0.8))


def _unit(axis: Any, x: str, y: str) -> None:  # noqa: ANN401  (matplotlib has no types)
    """Both axes from 0 to 1, with a legend where lines have names."""
    axis.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, loc="lower right" if y == "sensitivity" else "lower left")


def _label(report: TriageReport, metric: str, name: str) -> str:
    """A class with its area."""
    found = report.scores[metric][name]
    return f"{class_title(name)}: {found.value:.3f}{_interval(found.low, found.high)}"


def _interval(low: float, high: float) -> str:
    """An interval in brackets, nothing without resamples."""
    return f" ({low:.3f} to {high:.3f})" if math.isfinite(low) and math.isfinite(high) else ""
