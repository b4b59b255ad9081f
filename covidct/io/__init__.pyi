from .geometry import to_canonical as to_canonical
from .info import SeriesInfo as SeriesInfo
from .scan import find_series as find_series
from .scan import read_scan as read_scan

__all__ = ("SeriesInfo", "find_series", "read_scan", "to_canonical")
