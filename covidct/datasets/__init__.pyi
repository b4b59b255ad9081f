from .base import BaseDataset as BaseDataset
from .base import Raw as Raw
from .base import Record as Record
from .cncb import CNCBSlices as CNCBSlices
from .cncb import CNCBVolumes as CNCBVolumes
from .cncb_lesions import CNCBLesions as CNCBLesions
from .cohort import Cohort as Cohort
from .covid19_ct_seg import COVID19CTSeg as COVID19CTSeg
from .covid_ct import COVIDCT as COVIDCT
from .covid_ct_md import COVIDCTMDSlices as COVIDCTMDSlices
from .covid_ct_md import COVIDCTMDVolumes as COVIDCTMDVolumes
from .covid_qu_ex import COVIDQUEx as COVIDQUEx
from .covidx_ct import COVIDxCT as COVIDxCT
from .covidx_cxr import COVIDxCXR3 as COVIDxCXR3
from .dark_covid import DarkCovid as DarkCovid
from .luna16 import LUNA16 as LUNA16
from .manifest import ManifestCXR as ManifestCXR
from .manifest import ManifestSlices as ManifestSlices
from .manifest import ManifestVolumes as ManifestVolumes
from .phantom import PhantomCTSlices as PhantomCTSlices
from .phantom import PhantomCTVolumes as PhantomCTVolumes
from .phantom import PhantomCXR as PhantomCXR
from .phantom_confounded import PhantomConfounded as PhantomConfounded
from .phantom_lesions import PhantomLesions as PhantomLesions
from .phantom_lungs import PhantomLungs as PhantomLungs
from .phantom_tagged_cxr import PhantomTaggedCXR as PhantomTaggedCXR
from .phantom_two_contrasts import PhantomTwoContrasts as PhantomTwoContrasts
from .slices_of_volumes import SlicesOfVolumes as SlicesOfVolumes
from .splits import assign_folds as assign_folds
from .splits import assign_splits as assign_splits
from .splits import check_no_overlap as check_no_overlap
from .tianchi_lung import TianchiLung as TianchiLung

__all__ = (
    "BaseDataset",
    "CNCBLesions",
    "CNCBSlices",
    "CNCBVolumes",
    "COVID19CTSeg",
    "COVIDCT",
    "COVIDCTMDSlices",
    "COVIDCTMDVolumes",
    "COVIDQUEx",
    "COVIDxCT",
    "COVIDxCXR3",
    "Cohort",
    "DarkCovid",
    "LUNA16",
    "ManifestCXR",
    "ManifestSlices",
    "ManifestVolumes",
    "PhantomCTSlices",
    "PhantomCTVolumes",
    "PhantomCXR",
    "PhantomConfounded",
    "PhantomLesions",
    "PhantomLungs",
    "PhantomTaggedCXR",
    "PhantomTwoContrasts",
    "Raw",
    "Record",
    "SlicesOfVolumes",
    "TianchiLung",
    "assign_folds",
    "assign_splits",
    "check_no_overlap",
)
