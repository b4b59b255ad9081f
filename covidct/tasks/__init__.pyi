from .base import BaseTask as BaseTask
from .classification import ClassificationTask as ClassificationTask
from .load import load_task as load_task
from .masked_gap_resnet import MaskedGAPResNetTask as MaskedGAPResNetTask
from .resnext_plus import ResNeXtPlusTask as ResNeXtPlusTask
from .segmentation import SegmentationTask as SegmentationTask
from .unet3d import UNet3dTask as UNet3dTask

__all__ = (
    "BaseTask",
    "ClassificationTask",
    "MaskedGAPResNetTask",
    "ResNeXtPlusTask",
    "SegmentationTask",
    "UNet3dTask",
    "load_task",
)
