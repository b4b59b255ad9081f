"""The command line: ``main`` and one file a verb; importing a file of it loads no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
