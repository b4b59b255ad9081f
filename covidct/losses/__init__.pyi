from .dice import DiceBCELoss as DiceBCELoss
from .dice import DiceCELoss as DiceCELoss

__all__ = ("DiceBCELoss", "DiceCELoss")
