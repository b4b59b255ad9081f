from .lung_segmenter import LungSegmenter as LungSegmenter
from .masked_gap_resnet import MaskedGAPResNet as MaskedGAPResNet
from .resnext_plus import ResNeXtPlus as ResNeXtPlus
from .unet3d import UNet3d as UNet3d

__all__ = ("LungSegmenter", "MaskedGAPResNet", "ResNeXtPlus", "UNet3d")
