from .cohort import Excluded as Excluded
from .cohort import Selection as Selection
from .cohort import select_series as select_series
from .contrast import ContrastSplit as ContrastSplit
from .contrast import body_mask as body_mask
from .contrast import contrast_score as contrast_score
from .listing import Entry as Entry
from .listing import Scan as Scan
from .listing import Unreadable as Unreadable
from .listing import iterate_scans as iterate_scans
from .listing import read_listing as read_listing
from .listing import read_stack as read_stack
from .moments import PixelMoments as PixelMoments
from .shortcut_features import features_of as features_of
from .shortcuts import ShortcutProbe as ShortcutProbe
from .shortcuts import shortcut_probes as shortcut_probes
from .statistics import CohortStatistics as CohortStatistics
from .statistics import cohort_statistics as cohort_statistics

__all__ = (
    "CohortStatistics",
    "ContrastSplit",
    "Entry",
    "Excluded",
    "PixelMoments",
    "Scan",
    "Selection",
    "ShortcutProbe",
    "Unreadable",
    "body_mask",
    "cohort_statistics",
    "contrast_score",
    "features_of",
    "iterate_scans",
    "read_listing",
    "read_stack",
    "select_series",
    "shortcut_probes",
)
