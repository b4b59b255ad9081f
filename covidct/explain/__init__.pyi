from .attention import attention_curves as attention_curves
from .attention import attention_figure as attention_figure
from .attention import enhancement_figure as enhancement_figure
from .attention import fade as fade
from .deletion import DeletionCurve as DeletionCurve
from .deletion import deletion_curve as deletion_curve
from .deletion import deletion_figure as deletion_figure
from .element import ElementMap as ElementMap
from .feature_grid import feature_grid as feature_grid
from .feature_maps import FeatureMaps as FeatureMaps
from .feature_maps import LayerMaps as LayerMaps
from .feature_maps import feature_maps as feature_maps
from .features import FeatureRow as FeatureRow
from .features import feature_figure as feature_figure
from .features import feature_row as feature_row
from .features import mean_feature_map as mean_feature_map
from .gradcam import ClassMaps as ClassMaps
from .gradcam import GradCAM as GradCAM
from .lesions import LESION_COLOURS as LESION_COLOURS
from .lesions import SAFE_LESION_COLOURS as SAFE_LESION_COLOURS
from .lesions import lesion_figure as lesion_figure
from .lesions import lesion_overlay as lesion_overlay
from .overlay import heat_colours as heat_colours
from .overlay import maps_on_grid as maps_on_grid
from .overlay import overlay as overlay
from .scale import calibrate as calibrate
from .scale import explained_classes as explained_classes
from .scale import maximum_on_positives as maximum_on_positives

__all__ = (
    "ClassMaps",
    "DeletionCurve",
    "ElementMap",
    "FeatureMaps",
    "FeatureRow",
    "GradCAM",
    "LESION_COLOURS",
    "LayerMaps",
    "SAFE_LESION_COLOURS",
    "attention_curves",
    "attention_figure",
    "calibrate",
    "deletion_curve",
    "deletion_figure",
    "enhancement_figure",
    "explained_classes",
    "fade",
    "feature_figure",
    "feature_grid",
    "feature_maps",
    "feature_row",
    "heat_colours",
    "lesion_figure",
    "lesion_overlay",
    "maps_on_grid",
    "maximum_on_positives",
    "mean_feature_map",
    "overlay",
)
