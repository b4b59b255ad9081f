from .recompute import recompute as recompute

__all__ = ("recompute",)
