"""Studies: published comparisons as one call, resumable, with tables that stand beside the papers' own."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
