from .masked_gap_resnet import MaskedGAPResNet as MaskedGAPResNet

__all__ = ("MaskedGAPResNet",)
