from .main import run as run

__all__ = ("run",)
