from .base import BaseDataset as BaseDataset
from .base import Raw as Raw
from .base import Record as Record
from .manifest import ManifestCXR as ManifestCXR
from .manifest import ManifestSlices as ManifestSlices
from .manifest import ManifestVolumes as ManifestVolumes
from .phantom import PhantomCTSlices as PhantomCTSlices
from .phantom import PhantomCTVolumes as PhantomCTVolumes
from .phantom import PhantomCXR as PhantomCXR
from .splits import assign_folds as assign_folds
from .splits import assign_splits as assign_splits
from .splits import check_no_overlap as check_no_overlap

__all__ = (
    "BaseDataset",
    "ManifestCXR",
    "ManifestSlices",
    "ManifestVolumes",
    "PhantomCTSlices",
    "PhantomCTVolumes",
    "PhantomCXR",
    "Raw",
    "Record",
    "assign_folds",
    "assign_splits",
    "check_no_overlap",
)
