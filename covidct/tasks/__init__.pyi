from .base import BaseTask as BaseTask
from .classification import ClassificationTask as ClassificationTask
from .contrastive import ContrastiveTask as ContrastiveTask
from .convert import convert_reference as convert_reference
from .covnet import COVNetTask as COVNetTask
from .dark_covidnet import DarkCovidNetTask as DarkCovidNetTask
from .detection import DetectionTask as DetectionTask
from .fpn_densenet import FPNDenseNetTask as FPNDenseNetTask
from .gated_ensemble import GatedEnsembleTask as GatedEnsembleTask
from .join_experts import join_experts as join_experts
from .lesion_mask_rcnn import LesionMaskRCNNTask as LesionMaskRCNNTask
from .load import load_task as load_task
from .mask_net import CovidCTMaskNetTask as CovidCTMaskNetTask
from .masked_gap_resnet import MaskedGAPResNetTask as MaskedGAPResNetTask
from .resnext_plus import ResNeXtPlusTask as ResNeXtPlusTask
from .save import save_task as save_task
from .segmentation import SegmentationTask as SegmentationTask
from .self_trans import SelfTransTask as SelfTransTask
from .slice_classifier import SliceClassifierTask as SliceClassifierTask
from .slice_segmentation import SliceSegmentationTask as SliceSegmentationTask
from .two_level import TwoLevelTask as TwoLevelTask
from .unet2d import UNet2dTask as UNet2dTask
from .unet3d import UNet3dTask as UNet3dTask

__all__ = (
    "BaseTask",
    "COVNetTask",
    "ClassificationTask",
    "ContrastiveTask",
    "CovidCTMaskNetTask",
    "DarkCovidNetTask",
    "DetectionTask",
    "FPNDenseNetTask",
    "GatedEnsembleTask",
    "LesionMaskRCNNTask",
    "MaskedGAPResNetTask",
    "ResNeXtPlusTask",
    "SegmentationTask",
    "SelfTransTask",
    "SliceClassifierTask",
    "SliceSegmentationTask",
    "TwoLevelTask",
    "UNet2dTask",
    "UNet3dTask",
    "convert_reference",
    "join_experts",
    "load_task",
    "save_task",
)
