from .base import BaseDataModule as BaseDataModule
from .ct_slices import CTSliceDataModule as CTSliceDataModule
from .ct_volumes import CTVolumeDataModule as CTVolumeDataModule
from .cxr import CXRDataModule as CXRDataModule

__all__ = ("BaseDataModule", "CTSliceDataModule", "CTVolumeDataModule", "CXRDataModule")
