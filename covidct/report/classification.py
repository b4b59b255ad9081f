"""``classification_table``: precision, recall, F1 and support of each class, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

__all__ = ("classification_table",)


def classification_table(confusion: ArrayLike, class_names: Sequence[str], *, digits: int = 2) -> str:
    """The table of the practicum's report (its Tables 1 and 2), laid out as scikit-learn's ``classification_report``.

    The macro mean is over the classes that occur, that is have true cases, as everywhere in the library; scikit-learn
    counts the others as 0.

    Args:
        confusion: (C, C) counts, rows truth, columns prediction.
        class_names: C names, in the order of the rows.
        digits: after the point.

    Returns:
        Lines of text: each class, accuracy, macro and weighted mean. A class that nobody has or that is never called
        gets 0 where the score is not defined, as scikit-learn writes it.

    Raises:
        UsageError: when the matrix is not (C, C), not of counts, or empty.
    """
    from sklearn.metrics import precision_recall_fscore_support

    matrix = np.asarray(confusion)
    count = len(class_names)
    proper = matrix.shape == (count, count) and matrix.dtype.kind in "iu" and (matrix >= 0).all() and matrix.any()
    if not proper:
        raise UsageError(
            f"The confusion matrix {matrix.tolist()} must hold counts, {count} rows and columns, not all 0."
        )
    truth, called = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices(matrix.shape))
    found = precision_recall_fscore_support(truth, called, labels=list(range(count)), zero_division=0)
    scores, support = np.stack(found[:3]), matrix.sum(axis=1)
    total, last = int(support.sum()), "weighted avg"
    width = max(*map(len, class_names), len(last), digits)

    def line(name: str, values: Sequence[float | str], cases: int | str) -> str:
        shown = (value if isinstance(value, str) else f"{value:.{digits}f}" for value in values)
        return f"{name:>{width}} " + "".join(f" {cell:>9}" for cell in (*shown, str(cases)))

    rows = [line(name, scores[:, k].tolist(), int(support[k])) for k, name in enumerate(class_names)]
    means = [
        line("accuracy", ["", "", float(np.trace(matrix)) / total], total),
        line("macro avg", scores[:, support > 0].mean(axis=1).tolist(), total),
        line(last, (scores @ support / total).tolist(), total),
    ]
    head = line("", ("precision", "recall", "f1-score"), "support")
    return "\n".join([head, "", *rows, "", *means, ""])
