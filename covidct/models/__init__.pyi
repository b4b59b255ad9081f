from .covnet import COVNet as COVNet
from .csrnet import CSRNet as CSRNet
from .dark_covidnet import DarkCovidNet as DarkCovidNet
from .fpn_densenet import FPNDenseNet as FPNDenseNet
from .gated_ensemble import GatedEnsemble as GatedEnsemble
from .lesion_detector import LesionDetector as LesionDetector
from .lesion_map import LesionMap as LesionMap
from .lesion_map import SliceDetections as SliceDetections
from .lesion_mask_rcnn import LesionMaskRCNN as LesionMaskRCNN
from .lesion_segmenter import LesionSegmenter as LesionSegmenter
from .lung_segmenter import LungSegmenter as LungSegmenter
from .mask_net import CovidCTMaskNet as CovidCTMaskNet
from .mask_net import TakenOver as TakenOver
from .mask_net_weights import StoredDetector as StoredDetector
from .mask_net_weights import read_detector as read_detector
from .masked_gap_resnet import MaskedGAPResNet as MaskedGAPResNet
from .resnext_plus import ResNeXtPlus as ResNeXtPlus
from .self_trans import SelfTransDenseNet as SelfTransDenseNet
from .slice_classifier import SliceClassifier as SliceClassifier
from .slice_lung_segmenter import SliceLungSegmenter as SliceLungSegmenter
from .trunk import Trunk as Trunk
from .two_level import TwoLevelClassifier as TwoLevelClassifier
from .unet2d import UNet2d as UNet2d
from .unet3d import UNet3d as UNet3d
from .unet3d_inference import InferenceUNet3d as InferenceUNet3d
from .unet3d_inference import inference_copy as inference_copy
from .xray_lung_segmenter import XRayLungSegmenter as XRayLungSegmenter

__all__ = (
    "COVNet",
    "CSRNet",
    "CovidCTMaskNet",
    "DarkCovidNet",
    "FPNDenseNet",
    "GatedEnsemble",
    "InferenceUNet3d",
    "LesionDetector",
    "LesionMap",
    "LesionMaskRCNN",
    "LesionSegmenter",
    "LungSegmenter",
    "MaskedGAPResNet",
    "ResNeXtPlus",
    "SelfTransDenseNet",
    "SliceClassifier",
    "SliceDetections",
    "SliceLungSegmenter",
    "StoredDetector",
    "TakenOver",
    "Trunk",
    "TwoLevelClassifier",
    "UNet2d",
    "UNet3d",
    "XRayLungSegmenter",
    "inference_copy",
    "read_detector",
)
