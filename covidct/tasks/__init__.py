"""Tasks: one LightningModule per published architecture, of the same stem as its network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
