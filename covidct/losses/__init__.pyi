from .combo import ComboLoss as ComboLoss
from .dice import DiceBCELoss as DiceBCELoss
from .dice import DiceCELoss as DiceCELoss
from .focal import FocalLoss as FocalLoss
from .focal import focal_loss as focal_loss
from .info_nce import InfoNCELoss as InfoNCELoss

__all__ = ("ComboLoss", "DiceBCELoss", "DiceCELoss", "FocalLoss", "InfoNCELoss", "focal_loss")
