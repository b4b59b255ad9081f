from .checkpoint_io import AtomicCheckpointIO as AtomicCheckpointIO
from .checkpoints import Checkpoints as Checkpoints
from .checkpoints import find_checkpoint as find_checkpoint
from .epoch_vote import EpochVote as EpochVote
from .grad_cam_cases import GradCAMCases as GradCAMCases
from .grad_cam_scale import GradCAMScale as GradCAMScale
from .non_finite_guard import NonFiniteGuard as NonFiniteGuard
from .precision_monitor import PrecisionMonitor as PrecisionMonitor
from .run_manifest import RunManifest as RunManifest
from .throughput_monitor import ThroughputMonitor as ThroughputMonitor
from .throughput_monitor import matmul_rate as matmul_rate

__all__ = (
    "AtomicCheckpointIO",
    "Checkpoints",
    "EpochVote",
    "GradCAMCases",
    "GradCAMScale",
    "NonFiniteGuard",
    "PrecisionMonitor",
    "RunManifest",
    "ThroughputMonitor",
    "find_checkpoint",
    "matmul_rate",
)
