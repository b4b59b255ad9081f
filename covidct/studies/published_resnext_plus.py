"""The tables of the slice-attention paper, as printed."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ("PUBLISHED_TABLES", "SOURCE", "VOLUMES")

SOURCE = (
    'A. Mohammed et al., "Semi-supervised Network for Detection of COVID-19 in Chest CT Scans" (IEEE Access 2020), '
    "Tables 1 and 2."
)

VOLUMES = {"negatives": 56, "positives": 4}
"""Volumes of the paper's test part, which it does not print: accuracy 0.933 with sensitivity 0 and specificity 1 (Table
2, N-MSCA) is 56 of 60, a fifth of its 302 volumes."""

_ALL_RIGHT = {"accuracy": 1.0, "precision": 1.0, "f1": 1.0, "sensitivity": 1.0, "specificity": 1.0}
_PROPOSED = {"accuracy": 0.776, "precision": 0.819, "f1": 0.814, "sensitivity": 0.855, "specificity": 0.793}

PUBLISHED_TABLES: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]] = {
    "Table 1": {
        "volume": {name: {**_ALL_RIGHT, "recall": 1.0} for name in ("none", "stochastic", "tone")},
        "slice": {
            "none": {**_PROPOSED, "recall": 0.854},
            "stochastic": {
                "accuracy": 0.762,
                "precision": 0.792,
                "recall": 0.882,
                "f1": 0.809,
                "sensitivity": 0.883,
                "specificity": 0.729,
            },
            "tone": {
                "accuracy": 0.729,
                "precision": 0.788,
                "recall": 0.773,
                "f1": 0.761,
                "sensitivity": 0.773,
                "specificity": 0.772,
            },
        },
    },
    "Table 2": {
        "volume": {
            "N-SCA": _ALL_RIGHT,
            "N-MSCA": {"accuracy": 0.933, "precision": 0.0, "f1": 0.0, "sensitivity": 0.0, "specificity": 1.0},
            "N-SLA": _ALL_RIGHT,
            "proposed": _ALL_RIGHT,
        },
        "slice": {
            "N-SCA": {"accuracy": 0.755, "precision": 0.767, "f1": 0.788, "sensitivity": 0.856, "specificity": 0.733},
            "N-MSCA": {"accuracy": 0.788, "precision": 0.763, "f1": 0.834, "sensitivity": 0.975, "specificity": 0.626},
            "proposed": _PROPOSED,
        },
    },
}
"""Table to level to row to metric, as printed. Recall and sensitivity are the same quantity and differ in the third
digit; precision and sensitivity do not give the printed F1, nor can a pooled accuracy lie below both sensitivity and
specificity: the slice figures can only be means over volumes."""
