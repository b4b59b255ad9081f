from .cache import ArrayCache as ArrayCache
from .content import cache_key as cache_key
from .content import content_digest as content_digest
from .discover import ScanInput as ScanInput
from .discover import discover as discover
from .geometry import to_canonical as to_canonical
from .info import SeriesInfo as SeriesInfo
from .masks import read_mask as read_mask
from .raster import read_image as read_image
from .scan import find_series as find_series
from .scan import read_scan as read_scan
from .writers import write_mask as write_mask

__all__ = (
    "ArrayCache",
    "ScanInput",
    "SeriesInfo",
    "cache_key",
    "content_digest",
    "discover",
    "find_series",
    "read_image",
    "read_mask",
    "read_scan",
    "to_canonical",
    "write_mask",
)
