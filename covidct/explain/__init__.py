"""What a network looked at: Grad-CAM, pooling maps, overlays in fixed colours, deletion curves."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
