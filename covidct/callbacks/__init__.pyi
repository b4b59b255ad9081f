from .checkpoint_io import AtomicCheckpointIO as AtomicCheckpointIO
from .checkpoints import Checkpoints as Checkpoints
from .checkpoints import find_checkpoint as find_checkpoint
from .epoch_vote import EpochVote as EpochVote
from .grad_cam_cases import GradCAMCases as GradCAMCases
from .grad_cam_scale import GradCAMScale as GradCAMScale

__all__ = (
    "AtomicCheckpointIO",
    "Checkpoints",
    "EpochVote",
    "GradCAMCases",
    "GradCAMScale",
    "find_checkpoint",
)
