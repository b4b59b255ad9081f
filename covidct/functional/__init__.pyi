from .background import lung_mask_2d as lung_mask_2d
from .background import remove_background as remove_background
from .case_features import case_features as case_features
from .contrast import ContrastSplit as ContrastSplit
from .contrast import body_mask as body_mask
from .contrast import contrast_score as contrast_score
from .contrast import subject_scores as subject_scores
from .detections import label_pixels as label_pixels
from .equalise import clahe as clahe
from .equalise import equalise as equalise
from .equalise import equalise_histogram as equalise_histogram
from .fusion import FusionRule as FusionRule
from .fusion import fit_fusion_weights as fit_fusion_weights
from .fusion import fuse_probabilities as fuse_probabilities
from .geometry import isotropic_cube as isotropic_cube
from .geometry import resample_mask as resample_mask
from .intensity import tone_map as tone_map
from .intensity import window_hu as window_hu
from .lesion_measures import LesionMeasures as LesionMeasures
from .lesion_measures import lesion_table as lesion_table
from .lesion_objects import MIN_OBJECT_AREA as MIN_OBJECT_AREA
from .lesion_objects import keep_large_objects as keep_large_objects
from .lesion_objects import lesion_instances as lesion_instances
from .logits import labels_from_logits as labels_from_logits
from .lung_field import LungField as LungField
from .lung_field import lung_field as lung_field
from .lung_parts import keep_lungs as keep_lungs
from .lung_shadow import clean_lung_mask as clean_lung_mask
from .lung_shadow import lung_area_share as lung_area_share
from .lungs import segment_lungs as segment_lungs
from .pooling import mask_weighted_gap as mask_weighted_gap
from .pooling import mask_weights as mask_weights
from .pseudo_labels import PseudoLabels as PseudoLabels
from .pseudo_labels import pseudo_labels_above as pseudo_labels_above
from .pseudo_labels import select_pseudo_labels as select_pseudo_labels
from .regions import RankedRegions as RankedRegions
from .regions import rank_regions as rank_regions
from .set_morphology import closing as closing
from .set_morphology import dilate as dilate
from .set_morphology import erode as erode
from .set_morphology import opening as opening
from .sliding_window import sliding_window_labels as sliding_window_labels
from .stochastic import gradient_strength as gradient_strength
from .stochastic import stochastic_enhance as stochastic_enhance

__all__ = (
    "ContrastSplit",
    "FusionRule",
    "LesionMeasures",
    "LungField",
    "PseudoLabels",
    "RankedRegions",
    "MIN_OBJECT_AREA",
    "body_mask",
    "case_features",
    "clahe",
    "clean_lung_mask",
    "closing",
    "contrast_score",
    "dilate",
    "equalise",
    "equalise_histogram",
    "erode",
    "fit_fusion_weights",
    "fuse_probabilities",
    "gradient_strength",
    "isotropic_cube",
    "keep_large_objects",
    "keep_lungs",
    "label_pixels",
    "labels_from_logits",
    "lesion_instances",
    "lesion_table",
    "lung_area_share",
    "lung_field",
    "lung_mask_2d",
    "mask_weighted_gap",
    "mask_weights",
    "opening",
    "pseudo_labels_above",
    "rank_regions",
    "remove_background",
    "resample_mask",
    "segment_lungs",
    "select_pseudo_labels",
    "sliding_window_labels",
    "stochastic_enhance",
    "subject_scores",
    "tone_map",
    "window_hu",
)
