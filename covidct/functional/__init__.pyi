from .geometry import isotropic_cube as isotropic_cube
from .geometry import resample_mask as resample_mask
from .intensity import window_hu as window_hu
from .lung_field import LungField as LungField
from .lung_field import lung_field as lung_field
from .lungs import segment_lungs as segment_lungs
from .pooling import mask_weighted_gap as mask_weighted_gap
from .pooling import mask_weights as mask_weights

__all__ = (
    "LungField",
    "isotropic_cube",
    "lung_field",
    "mask_weighted_gap",
    "mask_weights",
    "resample_mask",
    "segment_lungs",
    "window_hu",
)
