from .cohort import Excluded as Excluded
from .cohort import Selection as Selection
from .cohort import select_series as select_series
from .listing import Entry as Entry
from .listing import Scan as Scan
from .listing import Unreadable as Unreadable
from .listing import iterate_scans as iterate_scans
from .listing import read_listing as read_listing
from .listing import read_stack as read_stack

__all__ = (
    "Entry",
    "Excluded",
    "Scan",
    "Selection",
    "Unreadable",
    "iterate_scans",
    "read_listing",
    "read_stack",
    "select_series",
)
