"""Weights: published ones by name, safetensors with metadata and sha256, checkpoints, states of networks.

The only ``torch.load`` of the library stands in ``torch_files``, always with ``weights_only=True`` and without a
fallback: a file that holds pickled objects could run code, so it is refused.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
