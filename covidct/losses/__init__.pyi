from .dice import DiceCELoss as DiceCELoss

__all__ = ("DiceCELoss",)
