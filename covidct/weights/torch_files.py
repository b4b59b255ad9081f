"""PyTorch's own files, read without running anything that they hold.

The only ``torch.load`` of the library stands here, always with ``weights_only=True`` and without a fallback: a file
that holds pickled objects could run code, so it is refused.
"""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from covidct.errors import WeightsError

if TYPE_CHECKING:
    import io
    from pathlib import Path

__all__ = ("torch_load",)


def torch_load(path: Path, error: type[WeightsError], content: io.BytesIO | None = None) -> Any:  # noqa: ANN401
    """The library's one ``torch.load``: tensors and plain data only, checksums verified, on the CPU.

    ``content`` stands for the bytes of the file where they were changed on the way.
    """
    try:
        zipped = content is None and zipfile.is_zipfile(path)
        if zipped:
            _require_checksums(path, error)
        return torch.load(content or path, map_location="cpu", weights_only=True, mmap=zipped)
    except WeightsError:
        raise
    except Exception as reason:  # a damaged file makes the reader fail in any way
        blocked = re.search(r"GLOBAL ([\w.]+)|global (\S+?) was not an allowed", str(reason))
        if blocked:
            name = blocked.group(1) or blocked.group(2)
            raise error(
                f"{path.name} holds a pickled object ({name}), which could run code when it is read, so it is refused "
                "and there is no fallback: train again with covidct, or ask its author for a file of plain tensors "
                "(safetensors)."
            ) from reason
        raise error(f"{path.name} is damaged or not a PyTorch file: copy or train it again.") from reason


def _require_checksums(path: Path, error: type[WeightsError]) -> None:
    """Compare the CRC of each entry, which ``torch.load`` does not."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise error(f"{path.name} is damaged (wrong checksum of {damaged!r}): copy or train it again.")
