"""What a result leaves beside its record: masks as NIfTI, and DICOM objects where they are asked for."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import CovidctError, GeometryError
from covidct.inference.captures import result_captures
from covidct.io.dicom_capture import dicom_captures
from covidct.io.dicom_seg import dicom_segmentation
from covidct.io.dicom_source import read_dicom_source, refused_headers
from covidct.io.dicom_sr import dicom_report
from covidct.io.dicom_terms import Algorithm, new_uid, require_highdicom
from covidct.io.writers import write_mask
from covidct.labels import LESIONS, LUNGS
from covidct.volume import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.inference.lesions import LesionSegmentation
    from covidct.inference.segment import LungSegmentation
    from covidct.io.dicom_source import DicomSource
    from covidct.io.discover import ScanInput
    from covidct.io.faults import OnFault
    from covidct.volume import Volume

__all__ = (
    "NO_CT",
    "NO_SOURCE",
    "FoundMasks",
    "dicom_objects",
    "mask_files",
    "object_bytes",
    "placed_file",
    "result_files",
)

NO_SOURCE = Finding(
    "no_dicom_objects",
    "The scan is no DICOM series, so that there is no patient and no study to make DICOM objects for.",
)
"""Why a scan of another format has no DICOM objects."""

NO_CT = Finding(NO_SOURCE.code, "DICOM objects are made of CT series alone, and this is an X-ray.")
"""Why an X-ray has none."""


@dataclass(frozen=True, slots=True)
class FoundMasks:
    """The masks of one scan.

    Attributes:
        volume: the scan.
        lungs: its lungs, where they were found.
        lesions: its lesions, where they were looked for.
    """

    volume: Volume
    lungs: LungSegmentation | None = None
    lesions: LesionSegmentation | None = None

    @property
    def sided(self) -> LungSegmentation | None:
        """The lungs where right and left are known: a lung field has no sides, and more than the lungs in it."""
        return None if self.lungs is None or self.lungs.mask_source == "lung_field" else self.lungs


def mask_files(found: FoundMasks) -> dict[str, bytes]:
    """Masks as compressed NIfTI on the grid that the scan was read from.

    Args:
        found: the masks.

    Returns:
        ``"lungs.nii.gz"`` (1 right, 2 left; ``"lung_field.nii.gz"`` where sides are unknown) and ``"lesions.nii.gz"``,
        as far as there are such masks; nothing of a scan without geometry.
    """
    named: dict[str, NDArray[np.uint8]] = {}
    if found.lungs is not None:
        named["lung_field" if found.sided is None else "lungs"] = found.lungs.mask
    if found.lesions is not None:
        named["lesions"] = found.lesions.mask
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, mask in named.items():
            path = Path(folder) / f"{name}.nii.gz"
            try:
                write_mask(mask, like=found.volume, path=path)
            except GeometryError:  # pictures have no place to write a mask in
                continue
            files[path.name] = path.read_bytes()
    return files


def dicom_objects(
    found: FoundMasks,
    source: DicomSource,
    *,
    probabilities: Mapping[str, float] | None = None,
    classifier: Algorithm | None = None,
    best: int | None = None,
) -> dict[str, Any]:
    """Everything about a scan as DICOM objects.

    Args:
        found: the masks.
        source: the images that the scan was read from.
        probabilities: of the classes, where the scan was classified.
        classifier: what made them.
        best: index of the slice that speaks most, for the pictures.

    Returns:
        File name to data set: ``"seg_lungs.dcm"`` and ``"seg_lesions.dcm"`` where there are lungs and lesions,
        ``"sr.dcm"``, ``"sc_1.dcm"`` and so on. Empty when nothing was found or looked for.

    Raises:
        CovidctError: when they cannot be made of the source, or highdicom is missing.
    """
    parts = _parts(found)
    makers = [*([classifier] if classifier else []), *(part.maker for part in parts)]
    if not makers:
        return {}
    require_highdicom()
    series, made, volumes = new_uid(), dict[str, Any](), dict[str, float]()
    for part in parts:
        if part.mask.any():
            made[f"seg_{part.name}.dcm"] = dicom_segmentation(
                part.mask,
                found.volume,
                source,
                names=part.names,
                algorithm=part.maker,
                series_uid=series,
                number=len(made) + 1,
            )
            volumes |= _volumes_ml(part, found.volume)
    if probabilities or made:
        made["sr.dcm"] = dicom_report(
            source,
            algorithm=makers[0],
            probabilities=probabilities,
            segmentations=list(made.values()),
            volumes_ml=volumes,
        )
    drawn = {part.name: part for part in parts}
    lesions = drawn.get("lesions")
    words = ", ".join(f"{name} {value:.3f}" for name, value in (probabilities or {}).items())
    captures = result_captures(
        found.volume,
        lungs=drawn["lungs"].mask if "lungs" in drawn else None,
        lesions=None if lesions is None else lesions.mask,
        lesion_names=LESIONS if lesions is None else lesions.names,
        best=best,
        words=[f"Probabilities: {words}."] if words else [],
    )
    objects = dicom_captures(captures, source, algorithm=makers[0])
    return made | {f"sc_{number}.dcm": one for number, one in enumerate(objects, 1)}


def object_bytes(made: Any) -> bytes:  # noqa: ANN401 - pydicom has no types
    """A DICOM object as the bytes of its file."""
    buffer = io.BytesIO()
    with refused_headers():
        made.save_as(buffer)
    return buffer.getvalue()


def result_files(
    found: FoundMasks,
    scan: ScanInput,
    *,
    masks: bool,
    dicom: bool,
    on_fault: OnFault,
    probabilities: Mapping[str, float] | None = None,
    classifier: Algorithm | None = None,
    best: int | None = None,
) -> tuple[dict[str, bytes], tuple[Finding, ...]]:
    """The files of one scan; what keeps DICOM objects from being made becomes a finding, so that a cohort goes on.

    Args:
        found: the masks.
        scan: what was read.
        masks: write them as NIfTI.
        dicom: write DICOM objects.
        on_fault: as the scan was read.
        probabilities: as in :func:`dicom_objects`, as the rest.
        classifier: as there.
        best: as there.

    Returns:
        ``"lungs.nii.gz"``, ``"sr.dcm"`` and so on to their bytes, and what is to be said about them.
    """
    files = mask_files(found) if masks else {}
    if not dicom:
        return files, ()
    if found.volume.source is None or found.volume.source.format != "dicom":
        return files, (NO_SOURCE,)
    try:
        source = read_dicom_source(scan.path, series=scan.series, on_fault=on_fault)
        objects = dicom_objects(found, source, probabilities=probabilities, classifier=classifier, best=best)
        files |= {name: object_bytes(made) for name, made in objects.items()}
    except CovidctError as error:
        return files, (Finding(NO_SOURCE.code, str(error)),)
    return files, ()


def placed_file(id: str, name: str) -> str:
    """Where a file of a scan stands in the folder of a cohort: masks together, DICOM objects by scan.

    Args:
        id: pseudonym of the scan.
        name: of :func:`result_files`.
    """
    return f"dicom/{id}/{name}" if name.endswith(".dcm") else f"masks/{id}_{name}"


@dataclass(frozen=True, slots=True)
class _Part:
    """A mask with what its labels mean and what made it."""

    name: str
    mask: NDArray[np.uint8]
    names: Sequence[str]
    maker: Algorithm


def _parts(found: FoundMasks) -> list[_Part]:
    """Lungs and lesions as far as they can be segments."""
    parts = []
    lungs, lesions = found.sided, found.lesions
    if lungs is not None:
        how = "covidct lungs by threshold" if lungs.mask_source == "threshold" else "covidct lung network"
        parts.append(_Part("lungs", lungs.mask, LUNGS, Algorithm(how, lungs.mask_source)))
    if lesions is not None:
        maker = Algorithm("covidct lesion network", lesions.lesion_source)
        parts.append(_Part("lesions", lesions.mask, lesions.class_names, maker))
    return parts


def _volumes_ml(part: _Part, volume: Volume) -> dict[str, float]:
    """Volume of each structure of a mask in millilitres."""
    voxel = float(np.prod(volume.spacing)) / 1000
    counts = {
        name: sum(int(np.count_nonzero(plane == value)) for plane in part.mask)
        for value, name in enumerate(part.names)
        if value
    }
    return {name: count * voxel for name, count in counts.items() if count}
