"""Losses: one a file, computed in float32 whatever the precision of the network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
