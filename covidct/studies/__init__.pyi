from .comparison import StudyData as StudyData
from .comparison import Variant as Variant
from .comparison import run_comparison as run_comparison
from .confounder import CONFOUNDER_PHANTOMS as CONFOUNDER_PHANTOMS
from .confounder import confounder_study as confounder_study
from .gated_ensemble import GATED_PHANTOMS as GATED_PHANTOMS
from .gated_ensemble import gated_ensemble_study as gated_ensemble_study
from .gated_system import Expert as Expert
from .gated_system import GatedSystem as GatedSystem
from .gated_system import train_gated_system as train_gated_system
from .masked_gap import POOLING_TITLES as POOLING_TITLES
from .masked_gap import PUBLISHED_CONFUSION as PUBLISHED_CONFUSION
from .masked_gap import masked_gap_study as masked_gap_study
from .masked_gap import pooling_variants as pooling_variants
from .masked_gap import published_reports as published_reports
from .masked_gap import write_study as write_study
from .published_resnext_plus import PUBLISHED_TABLES as PUBLISHED_TABLES
from .resnext_plus import ENHANCEMENT_ROWS as ENHANCEMENT_ROWS
from .resnext_plus import NETWORK_ROWS as NETWORK_ROWS
from .resnext_plus import Training as Training
from .resnext_plus import plan_trainings as plan_trainings
from .resnext_plus import resnext_plus_study as resnext_plus_study
from .resnext_plus import write_ablation as write_ablation
from .score_board import write_score_board as write_score_board
from .slice_classifiers import slice_classifier_study as slice_classifier_study
from .slice_combinations import OPTIMIZERS as OPTIMIZERS
from .slice_combinations import SliceCombination as SliceCombination
from .slice_combinations import combine as combine
from .xray import xray_study as xray_study
from .xray_trainings import XRayTraining as XRayTraining
from .xray_trainings import plan_xray_trainings as plan_xray_trainings

__all__ = (
    "CONFOUNDER_PHANTOMS",
    "ENHANCEMENT_ROWS",
    "Expert",
    "GATED_PHANTOMS",
    "GatedSystem",
    "NETWORK_ROWS",
    "OPTIMIZERS",
    "POOLING_TITLES",
    "PUBLISHED_CONFUSION",
    "PUBLISHED_TABLES",
    "SliceCombination",
    "StudyData",
    "Training",
    "Variant",
    "XRayTraining",
    "combine",
    "confounder_study",
    "gated_ensemble_study",
    "masked_gap_study",
    "plan_trainings",
    "plan_xray_trainings",
    "pooling_variants",
    "published_reports",
    "resnext_plus_study",
    "run_comparison",
    "slice_classifier_study",
    "train_gated_system",
    "write_ablation",
    "write_score_board",
    "write_study",
    "xray_study",
)
