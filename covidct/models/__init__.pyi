from .masked_gap_resnet import MaskedGAPResNet as MaskedGAPResNet
from .unet3d import UNet3d as UNet3d

__all__ = ("MaskedGAPResNet", "UNet3d")
