from .augment import Augment as Augment
from .augment import default_augment as default_augment
from .background import RemoveBackgroundd as RemoveBackgroundd
from .draw import draw_slices as draw_slices
from .enhance import CLAHEd as CLAHEd
from .enhance import Equalised as Equalised
from .enhance import EqualiseHistogramd as EqualiseHistogramd
from .enhance import StochasticEnhanced as StochasticEnhanced
from .enhance import ToneMapd as ToneMapd
from .field_of_view import RandFieldOfViewd as RandFieldOfViewd
from .fpn_densenet_augment import fpn_densenet_augment as fpn_densenet_augment
from .in_plane import InPlaned as InPlaned
from .masked import mask_again as mask_again
from .prepare import prepare_image as prepare_image
from .prepare import prepare_slices as prepare_slices
from .prepare import prepare_volume as prepare_volume
from .prepare import to_sample as to_sample
from .resnext_plus_augment import resnext_plus_augment as resnext_plus_augment
from .segmentation import segmentation_augment as segmentation_augment
from .self_trans_augment import self_trans_augment as self_trans_augment
from .two_views import TwoViews as TwoViews
from .two_views import moco_views as moco_views
from .window import LungMaskd as LungMaskd
from .window import WindowHUd as WindowHUd

__all__ = (
    "Augment",
    "CLAHEd",
    "EqualiseHistogramd",
    "Equalised",
    "InPlaned",
    "LungMaskd",
    "RandFieldOfViewd",
    "RemoveBackgroundd",
    "StochasticEnhanced",
    "ToneMapd",
    "TwoViews",
    "WindowHUd",
    "default_augment",
    "draw_slices",
    "fpn_densenet_augment",
    "mask_again",
    "moco_views",
    "prepare_image",
    "prepare_slices",
    "prepare_volume",
    "resnext_plus_augment",
    "segmentation_augment",
    "self_trans_augment",
    "to_sample",
)
