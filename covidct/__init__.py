"""covidct: published systems for COVID-19 and pneumonia in chest CT and chest X-ray. Research use, not a diagnosis.

Importing the package loads none of its sub-packages, so neither torch nor Lightning nor MONAI; each sub-package
(``covidct.io``, ``covidct.models``, ...) is loaded when it is first used.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

RESEARCH_USE = "Research use, not a diagnosis."
"""The sentence that stands in every output of the library."""

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submodules={
        "callbacks",
        "cards",
        "cli",
        "curation",
        "datamodules",
        "datasets",
        "errors",
        "explain",
        "functional",
        "inference",
        "io",
        "labels",
        "layers",
        "losses",
        "metrics",
        "models",
        "phantom",
        "report",
        "result",
        "sample",
        "studies",
        "tasks",
        "transforms",
        "volume",
        "weights",
    },
)

__all__ = ("RESEARCH_USE", "__version__")
