"""Lightning data modules, by shape of the data: CT volumes, CT slices, chest X-rays."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
