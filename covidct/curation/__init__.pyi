from .audit import LeakageAudit as LeakageAudit
from .audit import SubjectFault as SubjectFault
from .audit import audit_listing as audit_listing
from .cleaning import CleanedScan as CleanedScan
from .cleaning import clean_scans as clean_scans
from .cohort import Excluded as Excluded
from .cohort import Selection as Selection
from .cohort import select_series as select_series
from .duplicates import DuplicatePair as DuplicatePair
from .duplicates import DuplicateSearch as DuplicateSearch
from .duplicates import find_duplicates as find_duplicates
from .hashes import hamming_distance as hamming_distance
from .hashes import perceptual_hashes as perceptual_hashes
from .image_features import network_features as network_features
from .image_features import pixel_features as pixel_features
from .label_distance import LabelDistances as LabelDistances
from .labelled import LabelledSet as LabelledSet
from .listing import Entry as Entry
from .listing import Scan as Scan
from .listing import Unreadable as Unreadable
from .listing import iterate_scans as iterate_scans
from .listing import read_listing as read_listing
from .listing import read_stack as read_stack
from .moments import PixelMoments as PixelMoments
from .near_duplicates import near_duplicates as near_duplicates
from .otdd import DatasetDistance as DatasetDistance
from .otdd import otdd as otdd
from .otdd_cohorts import cohort_set as cohort_set
from .otdd_cohorts import contrast_sets as contrast_sets
from .otdd_cohorts import equalised_sets as equalised_sets
from .set_comparison import SetComparison as SetComparison
from .shortcut_features import features_of as features_of
from .shortcuts import ShortcutProbe as ShortcutProbe
from .shortcuts import shortcut_probes as shortcut_probes
from .slice_order import RemovedSlice as RemovedSlice
from .slice_order import SliceOrder as SliceOrder
from .slice_order import check_slice_order as check_slice_order
from .source_ranking import RankedSource as RankedSource
from .source_ranking import SourceRanking as SourceRanking
from .source_ranking import compare_sets as compare_sets
from .source_ranking import rank_sources as rank_sources
from .statistics import CohortStatistics as CohortStatistics
from .statistics import cohort_statistics as cohort_statistics

__all__ = (
    "CleanedScan",
    "CohortStatistics",
    "DatasetDistance",
    "DuplicatePair",
    "DuplicateSearch",
    "Entry",
    "Excluded",
    "LabelDistances",
    "LabelledSet",
    "LeakageAudit",
    "PixelMoments",
    "RankedSource",
    "RemovedSlice",
    "Scan",
    "Selection",
    "SetComparison",
    "ShortcutProbe",
    "SliceOrder",
    "SourceRanking",
    "SubjectFault",
    "Unreadable",
    "audit_listing",
    "check_slice_order",
    "clean_scans",
    "cohort_set",
    "cohort_statistics",
    "compare_sets",
    "contrast_sets",
    "equalised_sets",
    "features_of",
    "find_duplicates",
    "hamming_distance",
    "iterate_scans",
    "near_duplicates",
    "network_features",
    "otdd",
    "perceptual_hashes",
    "pixel_features",
    "rank_sources",
    "read_listing",
    "read_stack",
    "select_series",
    "shortcut_probes",
)
