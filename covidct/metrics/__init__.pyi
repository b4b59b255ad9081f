from .case import CaseMetrics as CaseMetrics
from .case import Cases as Cases
from .curves import CalibrationBin as CalibrationBin
from .curves import RocCurve as RocCurve
from .estimates import Estimate as Estimate
from .estimates import TriageReport as TriageReport
from .triage import report_from_confusion as report_from_confusion
from .triage import triage_report as triage_report

__all__ = (
    "CalibrationBin",
    "CaseMetrics",
    "Cases",
    "Estimate",
    "RocCurve",
    "TriageReport",
    "report_from_confusion",
    "triage_report",
)
