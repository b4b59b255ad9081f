"""A thorax simulator: chest CT and X-ray phantoms with lung and lesion masks. Test objects, not disease models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
