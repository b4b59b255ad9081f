"""What is done to a cohort before training: which scans belong in it, and why the others do not."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
