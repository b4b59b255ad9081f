from .case import CaseMetrics as CaseMetrics
from .case import Cases as Cases
from .case import case_scores as case_scores
from .case import subject_cases as subject_cases
from .comparison import PairedComparison as PairedComparison
from .comparison import PairedTest as PairedTest
from .comparison import compare_cohorts as compare_cohorts
from .comparison import compare_predictions as compare_predictions
from .curves import CalibrationBin as CalibrationBin
from .curves import RocCurve as RocCurve
from .detection import DetectionMetrics as DetectionMetrics
from .estimates import Estimate as Estimate
from .estimates import TriageReport as TriageReport
from .features import ContrastiveMetrics as ContrastiveMetrics
from .features import FeatureMetrics as FeatureMetrics
from .features import feature_spread as feature_spread
from .mask_ap import REFERENCE_THRESHOLDS as REFERENCE_THRESHOLDS
from .mask_ap import reference_mask_ap as reference_mask_ap
from .paired import McNemar as McNemar
from .paired import auroc_difference as auroc_difference
from .paired import mcnemar as mcnemar
from .probes import knn_probabilities as knn_probabilities
from .probes import probe_probabilities as probe_probabilities
from .rates import RATES as RATES
from .rates import rates_table as rates_table
from .score_difference import score_difference as score_difference
from .segmentation import SEGMENTATION_SCORES as SEGMENTATION_SCORES
from .segmentation import SegmentationMetrics as SegmentationMetrics
from .segmentation import segmentation_scores as segmentation_scores
from .slice_masks import SliceMaskMetrics as SliceMaskMetrics
from .slice_metrics import SliceMetrics as SliceMetrics
from .slices import SliceReport as SliceReport
from .slices import VolumeSlices as VolumeSlices
from .slices import slice_decisions as slice_decisions
from .slices import slice_report as slice_report
from .triage import report_from_confusion as report_from_confusion
from .triage import triage_report as triage_report

__all__ = (
    "CalibrationBin",
    "CaseMetrics",
    "Cases",
    "ContrastiveMetrics",
    "DetectionMetrics",
    "Estimate",
    "FeatureMetrics",
    "McNemar",
    "PairedComparison",
    "PairedTest",
    "RATES",
    "REFERENCE_THRESHOLDS",
    "RocCurve",
    "SEGMENTATION_SCORES",
    "SegmentationMetrics",
    "SliceMaskMetrics",
    "SliceMetrics",
    "SliceReport",
    "TriageReport",
    "VolumeSlices",
    "auroc_difference",
    "case_scores",
    "compare_cohorts",
    "compare_predictions",
    "feature_spread",
    "knn_probabilities",
    "mcnemar",
    "probe_probabilities",
    "rates_table",
    "reference_mask_ap",
    "report_from_confusion",
    "score_difference",
    "segmentation_scores",
    "slice_decisions",
    "slice_report",
    "subject_cases",
    "triage_report",
)
