from .cbam import CBAM as CBAM
from .folding import fold_batch_norm as fold_batch_norm
from .folding import fold_upsampling as fold_upsampling
from .mask_fusion import MaskFusion as MaskFusion
from .recompute import recompute as recompute
from .slice_attention import SliceAttention as SliceAttention

__all__ = ("CBAM", "MaskFusion", "SliceAttention", "fold_batch_norm", "fold_upsampling", "recompute")
