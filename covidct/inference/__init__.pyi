from .lesions import LesionSegmentation as LesionSegmentation
from .lesions import segment_lesions as segment_lesions
from .predictor import Predictor as Predictor
from .pseudonyms import Pseudonyms as Pseudonyms
from .segment import LungSegmentation as LungSegmentation
from .segment import segment_scan as segment_scan
from .slices import SLICE_RULE as SLICE_RULE
from .slices import scan_probabilities as scan_probabilities
from .triage import triage as triage

__all__ = (
    "LesionSegmentation",
    "LungSegmentation",
    "Predictor",
    "Pseudonyms",
    "SLICE_RULE",
    "scan_probabilities",
    "segment_lesions",
    "segment_scan",
    "triage",
)
