from .bundle_network import BundleNetwork as BundleNetwork
from .export import Exported as Exported
from .export import export_checkpoint as export_checkpoint
from .lesions import LesionSegmentation as LesionSegmentation
from .lesions import segment_lesions as segment_lesions
from .predictor import Predictor as Predictor
from .pseudonyms import Pseudonyms as Pseudonyms
from .segment import LungSegmentation as LungSegmentation
from .segment import segment_scan as segment_scan
from .slices import SLICE_RULE as SLICE_RULE
from .slices import scan_probabilities as scan_probabilities
from .triage import triage as triage
from .workers import PredictorSettings as PredictorSettings
from .workers import examine_many as examine_many
from .workers import local_processes as local_processes
from .workers import on_dask as on_dask

__all__ = (
    "BundleNetwork",
    "Exported",
    "LesionSegmentation",
    "LungSegmentation",
    "Predictor",
    "PredictorSettings",
    "Pseudonyms",
    "SLICE_RULE",
    "examine_many",
    "export_checkpoint",
    "local_processes",
    "on_dask",
    "scan_probabilities",
    "segment_lesions",
    "segment_scan",
    "triage",
)
