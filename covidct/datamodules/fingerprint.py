"""What tells one cohort from another: a digest of its records and of the contents of its files."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidct.datasets import BaseDataset
    from covidct.io import ArrayCache

__all__ = ("cohort_fingerprint",)


def cohort_fingerprint(dataset: BaseDataset, cache: ArrayCache) -> str:
    """Digest of all records (id, hash of the subject, label, slice, split) and of what their files hold.

    Args:
        dataset: the data set.
        cache: remembers the digests of files that have not changed.

    Returns:
        Hex sha256, alike on every machine.

    Raises:
        CovidctError: when the table of the data set is wrong or a file cannot be read.
    """
    sources = sorted({record.source for record in dataset.records})
    keys = {source: dataset.content_key(source, digest=cache.digest) for source in sources}
    records = [
        [record.id, dataset.subject_hash(record), record.label, record.slice, record.split, keys[record.source]]
        for record in dataset.records
    ]
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
