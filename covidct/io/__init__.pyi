from .cache import ArrayCache as ArrayCache
from .content import cache_key as cache_key
from .content import content_digest as content_digest
from .dicom_capture import Capture as Capture
from .dicom_capture import dicom_captures as dicom_captures
from .dicom_seg import dicom_segmentation as dicom_segmentation
from .dicom_source import DicomSource as DicomSource
from .dicom_source import read_dicom_source as read_dicom_source
from .dicom_sr import dicom_report as dicom_report
from .dicom_terms import Algorithm as Algorithm
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
    "Algorithm",
    "ArrayCache",
    "Capture",
    "DicomSource",
    "ScanInput",
    "SeriesInfo",
    "cache_key",
    "content_digest",
    "dicom_captures",
    "dicom_report",
    "dicom_segmentation",
    "discover",
    "find_series",
    "read_dicom_source",
    "read_image",
    "read_mask",
    "read_scan",
    "to_canonical",
    "write_mask",
)
