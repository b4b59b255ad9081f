from .attention import attention_curves as attention_curves
from .attention import attention_figure as attention_figure
from .attention import enhancement_figure as enhancement_figure
from .attention import fade as fade
from .element import ElementMap as ElementMap
from .gradcam import ClassMaps as ClassMaps
from .gradcam import GradCAM as GradCAM
from .overlay import heat_colours as heat_colours
from .overlay import maps_on_grid as maps_on_grid
from .overlay import overlay as overlay
from .scale import calibrate as calibrate
from .scale import explained_classes as explained_classes
from .scale import maximum_on_positives as maximum_on_positives

__all__ = (
    "ClassMaps",
    "ElementMap",
    "GradCAM",
    "attention_curves",
    "attention_figure",
    "calibrate",
    "enhancement_figure",
    "explained_classes",
    "fade",
    "heat_colours",
    "maps_on_grid",
    "maximum_on_positives",
    "overlay",
)
