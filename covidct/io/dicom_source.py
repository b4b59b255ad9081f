"""``DicomSource``: the images that a volume was read from, for DICOM objects that are made of it."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import CovidctError, GeometryError, InputError
from covidct.io.dicom import is_resampled, usable_series
from covidct.io.dicom_files import open_items
from covidct.io.dicom_slices import header_dataset
from covidct.io.faults import check_on_fault
from covidct.io.regrid import regrid_labels

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from covidct.io.dicom_series import Series
    from covidct.io.dicom_slices import Slice
    from covidct.io.faults import OnFault
    from covidct.volume import Volume

__all__ = ("DicomSource", "inherit", "labels_on_slices", "read_dicom_source", "refused_headers")

_NEEDED = {
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
}
_PLANE = (0x00080060, 0x00180050, 0x00200032, 0x00200037, 0x00200052, 0x00280010, 0x00280011, 0x00280030)
_EMPTY_IF_ABSENT = (  # type 2 of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): there, if only empty
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


@dataclass(frozen=True, slots=True)
class DicomSource:
    """The stored images behind a volume. They name the patient: keep them, and what is made of them, as you keep those.

    Attributes:
        images: pydicom data sets without pixels: one a slice, in order along the slices' normal, or the only one of a
            multi-frame object. The first is complete, of the others there is what geometry and references need.
        frames: for a multi-frame object the index of each slice's frame, in the same order; empty otherwise.
        grids: (n, 4, 4) float64 of each slice, voxel (column, row, 0) to LPS mm.
        shape: (rows, columns) of a slice.
        resampled: whether the volume holds voxels that were computed from those of the slices (``on_fault="repair"``).
        aside: elements of patient and study whose values are not quite DICOM; :func:`inherit` passes them on.
    """

    images: tuple[Any, ...]
    frames: tuple[int, ...]
    grids: NDArray[np.float64]
    shape: tuple[int, int]
    resampled: bool
    aside: tuple[Any, ...] = ()


def read_dicom_source(
    path: str | os.PathLike[str], *, series: str | None = None, on_fault: OnFault = "error"
) -> DicomSource:
    """Find the images that :func:`covidct.io.read_scan` makes a volume of, by headers alone.

    Where the header of the series lacks what is made anew without harm, that is done: a frame of reference, empty
    elements of patient and study, the distance of the slices.

    Args:
        path: as the volume was read: a folder, zip or multi-frame file.
        series: as there.
        on_fault: as there.

    Returns:
        The images, without pixels, in order along the normal of the slices.

    Raises:
        InputError: when it is no DICOM, has no UIDs to refer to, or lies in several multi-frame objects.
        GeometryError: as :func:`covidct.io.read_scan`.
    """
    check_on_fault(on_fault)
    source = Path(path)
    with open_items(source) as items:
        chosen, _, _ = usable_series(items, source.name, series=series, on_fault=on_fault)
        slices = chosen.slices
        several = {id(one.item) for one in slices}
        grouped = bool(slices[0].values["grouped"]) or slices[0].frames > 1
        if grouped and len(several) > 1:
            raise InputError(
                f"The series lies in {len(several)} multi-frame objects, but a DICOM segmentation refers to one alone: "
                "take the masks as NIfTI."
            )
        first = header_dataset(slices[0].item, None)
        tags = [*_NEEDED.values(), *_PLANE]
        others = [] if grouped else [header_dataset(one.item, tags) for one in slices[1:]]
    images = (first, *others)
    with refused_headers():
        _complete(images, chosen, grouped=grouped)
        aside = _set_aside(first)
    grids = np.stack([_grid(one) for one in slices])
    frames = tuple(one.frame for one in slices) if grouped else ()
    return DicomSource(images, frames, grids, slices[0].shape, is_resampled(chosen, on_fault), aside)


def labels_on_slices(labels: NDArray[np.uint8], like: Volume, source: DicomSource) -> NDArray[np.uint8]:
    """Bring a label map from the grid of the volume onto the stored slices.

    A volume that was only reordered gets every voxel back in its place; of one that was resampled each pixel of a
    slice gets the label of the nearest voxel.

    Args:
        labels: (D, H, W) on the grid of ``like``.
        like: the volume, read from ``source``.
        source: its images.

    Returns:
        uint8 (n, rows, columns), slices in the order of ``source.grids``.

    Raises:
        GeometryError: when the volume is another one.
    """
    shape = (len(source.grids), *source.shape)
    if source.resampled:
        planes = [regrid_labels(labels, like.affine, target=grid, shape=(1, *source.shape)) for grid in source.grids]
        return np.concatenate(planes)
    if like.source is None or like.source.shape != shape:
        raise GeometryError("The volume was not read from these images: read both again, with the same on_fault.")
    return regrid_labels(labels, like.affine, target=like.source.affine, shape=shape)


def inherit(made: Any, source: DicomSource) -> None:  # noqa: ANN401 - pydicom has no types
    """Give an object the Patient and Study modules of its source, element by element as they are there.

    Args:
        made: a highdicom object.
        source: what it was made of.
    """
    made.copy_patient_and_study_information(source.images[0])
    for element in source.aside:
        made.add(element)


@contextmanager
def refused_headers() -> Iterator[None]:
    """Turn what highdicom and pydicom say of a header's values into a sentence that holds none of them.

    Raises:
        InputError: for their errors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values of the source that are not quite DICOM; they are passed on as is
            yield
    except (CovidctError, MemoryError):
        raise
    except Exception as error:  # both let many kinds through on odd headers
        raise InputError(
            f"The headers of the series hold what no DICOM object can be made of ({type(error).__name__}): export it "
            "again, or take the masks as NIfTI."
        ) from error


def _complete(images: Sequence[Any], series: Series, *, grouped: bool) -> None:
    """Fill the headers up, and make them agree where they agree but for rounding."""
    first = images[0]
    _require_uids(images)
    for keyword in _EMPTY_IF_ABSENT:
        if keyword not in first:
            setattr(first, keyword, "")
    frame_of_reference = first.get("FrameOfReferenceUID") or _made_frame_of_reference(series)
    for image in images:
        image.FrameOfReferenceUID = frame_of_reference
    if grouped:
        _share(first, "PlaneOrientationSequence")
        _share(first, "PixelMeasuresSequence")
        measures = first.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    else:
        for image in images[1:]:
            image.ImageOrientationPatient = first.ImageOrientationPatient
        measures = first
    pitch = series.stack.pitch if series.stack else 0.0
    measures.SpacingBetweenSlices = f"{pitch:.10g}"
    if not measures.get("SliceThickness"):
        measures.SliceThickness = f"{pitch:.10g}"


def _require_uids(images: Sequence[Any]) -> None:
    """Refuse images that nothing can refer to."""
    for keyword in _NEEDED:
        if not all(image.get(keyword) for image in images):
            raise InputError(f"The series has no {keyword}, by which an object would refer to it: export it again.")


def _made_frame_of_reference(series: Series) -> str:
    """A frame of reference for a series that states none, the same for all objects made of it."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=["frame of reference", series.uid]))


def _set_aside(first: Any) -> tuple[Any, ...]:  # noqa: ANN401 - pydicom has no types
    """Empty those elements of patient and study that highdicom would refuse, and return them as they were."""
    from pydicom.valuerep import DA, TM

    tests: dict[str, Any] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM, "PatientSex": _sex}
    aside = []
    for keyword, test in tests.items():
        element = copy(first[keyword])
        try:
            test(str(element.value or ""))
        except ValueError:
            aside.append(element)
            setattr(first, keyword, "")
    return tuple(aside)


def _sex(value: str) -> None:
    """Refuse what is none of the defined terms (PS3.3 C.7.1.1)."""
    if value not in ("", "M", "F", "O"):
        raise ValueError


def _share(image: Any, keyword: str) -> None:  # noqa: ANN401 - pydicom has no types
    """Put a functional group that every frame states for itself where it is stated once."""
    shared = image.SharedFunctionalGroupsSequence[0]
    if keyword not in shared:
        setattr(shared, keyword, getattr(image.PerFrameFunctionalGroupsSequence[0], keyword))


def _grid(one: Slice) -> NDArray[np.float64]:
    """Affine of a slice, with one mm along its normal."""
    row, column = np.array(one.orientation).reshape(2, 3)
    down, right = one.pixel_spacing or (1.0, 1.0)
    grid = np.eye(4)
    grid[:3, :3] = np.stack([row * right, column * down, np.cross(row, column)], axis=1)
    grid[:3, 3] = one.position
    return grid
