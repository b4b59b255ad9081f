from .lung_segmenter import LungSegmenter as LungSegmenter
from .masked_gap_resnet import MaskedGAPResNet as MaskedGAPResNet
from .resnext_plus import ResNeXtPlus as ResNeXtPlus
from .unet3d import UNet3d as UNet3d
from .unet3d_inference import InferenceUNet3d as InferenceUNet3d
from .unet3d_inference import inference_copy as inference_copy

__all__ = ("InferenceUNet3d", "LungSegmenter", "MaskedGAPResNet", "ResNeXtPlus", "UNet3d", "inference_copy")
