from .checkpoint_io import AtomicCheckpointIO as AtomicCheckpointIO
from .checkpoints import Checkpoints as Checkpoints
from .checkpoints import find_checkpoint as find_checkpoint
from .epoch_vote import EpochVote as EpochVote
from .figure_logger import FigureLogger as FigureLogger
from .grad_cam_scale import GradCAMScale as GradCAMScale
from .metrics_report import MetricsReport as MetricsReport
from .non_finite_guard import NonFiniteGuard as NonFiniteGuard
from .precision_monitor import PrecisionMonitor as PrecisionMonitor
from .prediction_writer import PredictionWriter as PredictionWriter
from .private_wandb_logger import PrivateWandbLogger as PrivateWandbLogger
from .run_manifest import RunManifest as RunManifest
from .throughput_monitor import ThroughputMonitor as ThroughputMonitor
from .throughput_monitor import matmul_rate as matmul_rate

__all__ = (
    "AtomicCheckpointIO",
    "Checkpoints",
    "EpochVote",
    "FigureLogger",
    "GradCAMScale",
    "MetricsReport",
    "NonFiniteGuard",
    "PrecisionMonitor",
    "PrivateWandbLogger",
    "PredictionWriter",
    "RunManifest",
    "ThroughputMonitor",
    "find_checkpoint",
    "matmul_rate",
)
