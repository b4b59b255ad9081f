"""Scores of a classifier over cases and subjects: torchmetrics sets for training, reports with intervals after it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
