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

__all__ = (
    "ContrastSplit",
    "Entry",
    "Excluded",
    "Scan",
    "Selection",
    "Unreadable",
    "body_mask",
    "contrast_score",
    "iterate_scans",
    "read_listing",
    "read_stack",
    "select_series",
)
