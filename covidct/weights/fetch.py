"""Published weights by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from covidct.cache_folder import default_cache_dir
from covidct.errors import UsageError
from covidct.weights.download import download
from covidct.weights.registry import published_weights

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("fetch_weights", "weights_folder", "weights_path")


def weights_folder() -> Path:
    """Folder of the fetched files: ``weights`` in :func:`covidct.cache_folder.default_cache_dir`."""
    return default_cache_dir() / "weights"


def fetch_weights(name: str) -> Path:
    """The file of published weights, downloaded where it is not yet there; its size and sha256 are checked each time.

    Args:
        name: of :func:`covidct.weights.published_weights`.

    Returns:
        Path of the file in the cache (``$COVIDCT_CACHE/weights``, else ``~/.cache/covidct/weights``).

    Raises:
        UsageError: when nothing of that name is published.
        WeightsError: when the file can neither be found nor downloaded; says how to get it without a connection.
    """
    known = published_weights()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        guess = f", such as {close[0]!r}" if close else ""
        raise UsageError(f"No weights {name!r} are published: give a name that 'covidct list weights' shows{guess}.")
    one = known[name]
    path = weights_folder() / one.file_name
    return download((one.url, *one.mirrors), path, sha256=one.sha256, size=one.size)


def weights_path(weights: str) -> str:
    """What ``weights=`` names as a file, where it is the name of published weights; else as it is.

    Args:
        weights: a name of :func:`covidct.weights.published_weights`, a path, or a name of torchvision.

    Returns:
        Path of the file in the cache, or ``weights`` unchanged.

    Raises:
        WeightsError: as :func:`fetch_weights`.
    """
    return str(fetch_weights(weights)) if weights in published_weights() else weights
