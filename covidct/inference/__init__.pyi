from .segment import LungSegmentation as LungSegmentation
from .segment import segment_scan as segment_scan

__all__ = (
    "LungSegmentation",
    "segment_scan",
)
