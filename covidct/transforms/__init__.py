"""Transforms of chest images: the deterministic path to the network, and the one door to augmentation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
