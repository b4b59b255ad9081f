from .base import BaseTask as BaseTask
from .classification import ClassificationTask as ClassificationTask
from .load import load_task as load_task
from .masked_gap_resnet import MaskedGAPResNetTask as MaskedGAPResNetTask

__all__ = ("BaseTask", "ClassificationTask", "MaskedGAPResNetTask", "load_task")
