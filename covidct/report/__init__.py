"""Results as self-contained HTML pages, JSON and CSV; free of patient identity, marked as research output."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
