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
    """The table of the practicum's report (its Tables 1 and 2), which is scikit-learn's ``classification_report``.

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
    from sklearn.metrics import classification_report

    matrix = np.asarray(confusion)
    count = len(class_names)
    proper = matrix.shape == (count, count) and matrix.dtype.kind in "iu" and (matrix >= 0).all() and matrix.any()
    if not proper:
        raise UsageError(
            f"The confusion matrix {matrix.tolist()} must hold counts, {count} rows and columns, not all 0."
        )
    truth, called = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices(matrix.shape))
    table: str = classification_report(
        truth, called, labels=list(range(count)), target_names=list(class_names), digits=digits, zero_division=0
    )
    return table
