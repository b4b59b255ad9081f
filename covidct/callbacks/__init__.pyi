from .epoch_vote import EpochVote as EpochVote
from .grad_cam_cases import GradCAMCases as GradCAMCases
from .grad_cam_scale import GradCAMScale as GradCAMScale

__all__ = ("EpochVote", "GradCAMCases", "GradCAMScale")
