from .discover import ScanInput as ScanInput
from .discover import discover as discover
from .predictor import Predictor as Predictor
from .pseudonyms import Pseudonyms as Pseudonyms
from .segment import LungSegmentation as LungSegmentation
from .segment import segment_scan as segment_scan
from .triage import triage as triage

__all__ = (
    "LungSegmentation",
    "Predictor",
    "Pseudonyms",
    "ScanInput",
    "discover",
    "segment_scan",
    "triage",
)
