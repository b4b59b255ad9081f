"""The errors of covidct: every message is one sentence that says what is wrong, where, and what to do.

The command line prints the message alone and ends with the class's ``exit_code``; nothing else of the library
decides on exit codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.volume import Finding

__all__ = (
    "BatchError",
    "CheckpointError",
    "CodecError",
    "CovidctError",
    "ExportError",
    "GeometryError",
    "InputError",
    "ManifestError",
    "ModalityError",
    "TrainingError",
    "UsageError",
    "WeightsError",
)


class CovidctError(Exception):
    """Base of all errors that covidct raises on purpose.

    Attributes:
        exit_code: what the command line ends with: 2 wrong usage, 3 input refused.
    """

    exit_code = 3


class UsageError(CovidctError, ValueError):
    """An argument, option or configuration value is wrong."""

    exit_code = 2


class ExportError(CovidctError):
    """A network cannot be written in another format, or what was written computes something else."""


class InputError(CovidctError, ValueError):
    """A file or folder cannot be used as what it was given for."""


class GeometryError(InputError):
    """The geometry of a scan is wrong; a volume built from it would be silently wrong.

    Attributes:
        findings: what was found, in the order of discovery.
    """

    def __init__(self, message: str, findings: Sequence[Finding] = ()) -> None:
        """Keep the findings beside the sentence."""
        super().__init__(message)
        self.findings = tuple(findings)


class ModalityError(InputError):
    """The input is of another modality than the one asked for (an X-ray given to a CT command)."""


class CodecError(InputError):
    """The pixels are compressed in a way no installed decoder reads; the message names what can."""


class ManifestError(InputError):
    """A cohort table names a missing file, an unknown label, or one subject in two splits."""


class BatchError(CovidctError, ValueError):
    """A sample or batch breaks the contract of :mod:`covidct.sample`."""


class WeightsError(InputError):
    """A weights file is damaged, of another network, or not to be had."""


class CheckpointError(WeightsError):
    """A training checkpoint is damaged, holds pickled objects, or belongs to another task."""


class TrainingError(CovidctError):
    """A training cannot go on: its numbers are no longer finite."""
