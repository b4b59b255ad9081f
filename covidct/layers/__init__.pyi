from .cbam import CBAM as CBAM
from .efficient_channel_attention import EfficientChannelAttention as EfficientChannelAttention
from .efficient_channel_attention import adaptive_kernel_size as adaptive_kernel_size
from .evaluation import evaluation as evaluation
from .folding import fold_batch_norm as fold_batch_norm
from .folding import fold_upsampling as fold_upsampling
from .insert_attention import Attention as Attention
from .insert_attention import insert_attention as insert_attention
from .insert_attention import new_attention as new_attention
from .mask_fusion import MaskFusion as MaskFusion
from .recompute import recompute as recompute
from .scan_norm import ScanNorm2d as ScanNorm2d
from .scan_norm import forget_estimates as forget_estimates
from .scan_norm import scans_apart as scans_apart
from .slice_attention import SliceAttention as SliceAttention
from .squeeze_excite import SqueezeExcite as SqueezeExcite

__all__ = (
    "CBAM",
    "Attention",
    "EfficientChannelAttention",
    "MaskFusion",
    "ScanNorm2d",
    "SliceAttention",
    "SqueezeExcite",
    "adaptive_kernel_size",
    "evaluation",
    "fold_batch_norm",
    "fold_upsampling",
    "forget_estimates",
    "insert_attention",
    "new_attention",
    "recompute",
    "scans_apart",
)
