from .cbam import CBAM as CBAM
from .mask_fusion import MaskFusion as MaskFusion
from .recompute import recompute as recompute
from .slice_attention import SliceAttention as SliceAttention

__all__ = ("CBAM", "MaskFusion", "SliceAttention", "recompute")
