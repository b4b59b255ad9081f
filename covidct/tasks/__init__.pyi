from .base import BaseTask as BaseTask
from .classification import ClassificationTask as ClassificationTask
from .load import load_task as load_task
from .masked_gap_resnet import MaskedGAPResNetTask as MaskedGAPResNetTask
from .segmentation import SegmentationTask as SegmentationTask
from .unet3d import UNet3dTask as UNet3dTask

__all__ = ("BaseTask", "ClassificationTask", "MaskedGAPResNetTask", "SegmentationTask", "UNet3dTask", "load_task")
