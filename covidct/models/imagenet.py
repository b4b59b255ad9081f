"""Mean and standard deviation of the images that torchvision's published weights were trained on."""

from __future__ import annotations

__all__ = ("IMAGENET_MEAN", "IMAGENET_STD")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Red, green and blue in [0, 1]: torchvision.transforms' presets of all its ImageNet weights."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""As :data:`IMAGENET_MEAN`."""
