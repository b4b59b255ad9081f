from .cohort import Excluded as Excluded
from .cohort import Selection as Selection
from .cohort import select_series as select_series

__all__ = (
    "Excluded",
    "Selection",
    "select_series",
)
