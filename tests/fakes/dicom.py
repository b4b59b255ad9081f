"""Writes small DICOM series of any geometry, syntax and fault; shared by the tests of every part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    generate_uid,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def body(shape: tuple[int, int, int] = (12, 44, 36), seed: int = 0) -> NDArray[np.int16]:
    """A box of tissue with a lung in it and air around it, noisy and without any symmetry: (n, rows, columns) HU."""
    rng = np.random.default_rng(seed)
    array = rng.integers(-1024, -950, shape)
    n, rows, columns = shape
    array[:, rows // 8 : -rows // 6, columns // 7 : -columns // 9] = rng.integers(-80, 120, shape)[
        :, rows // 8 : -rows // 6, columns // 7 : -columns // 9
    ]
    array[n // 5 :, rows // 3 : rows // 2, columns // 4 : columns // 2] -= 850
    array[0, 2, 3], array[-1, -2, 1] = 900, 700
    return np.clip(array, -1024, 3071).astype(np.int16)


def positions(
    count: int,
    *,
    spacing: float = 2.0,
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, 20.0, -30.0),
    tilt: float = 0.0,
) -> NDArray[np.float64]:
    """Places (n, 3) of slices along the normal; ``tilt`` degrees lean them along the columns."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    step = np.cross(row, column) + np.tan(np.radians(tilt)) * column
    at: NDArray[np.float64] = np.asarray(origin) + spacing * np.arange(count)[:, None] * step
    return at


def write_series(
    folder: Path,
    hu: ArrayLike,
    *,
    spacing: tuple[float, float, float] = (2.0, 0.75, 0.5),
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, 20.0, -30.0),
    tilt: float = 0.0,
    places: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    slope: float | None = 1,
    intercept: float | None = -1024,
    dtype: str = "<u2",
    bits: int | None = None,
    modality: str | None = "CT",
    series_uid: str | None = None,
    padding: int | None = None,
) -> list[Path]:
    """Write slices as single-frame CT objects.

    Args:
        folder: made when absent.
        hu: (n, rows, columns); stored as ``(hu - intercept) / slope``.
        spacing: mm between (slices, rows, columns).
        orientation: direction cosines along a row and along a column.
        origin: LPS mm of the first pixel of the first slice.
        tilt: degrees by which the stack leans along the columns.
        places: (n, 3) positions instead of those that follow from the above.
        names: file names, default ``slice000.dcm`` ...
        syntax: transfer syntax to store in.
        slope: None leaves the element out.
        intercept: None leaves the element out.
        dtype: of the stored pixels.
        bits: stored bits, default all.
        modality: None leaves the element out.
        series_uid: default a new one.
        padding: PixelPaddingValue.

    Returns:
        The files in the order of ``hu``.
    """
    array = np.asarray(hu)
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.rint((array - (intercept or 0)) / (slope or 1)).astype(dtype)
    at = (
        positions(len(array), spacing=spacing[0], orientation=orientation, origin=origin, tilt=tilt)
        if places is None
        else np.asarray(places)
    )
    series_uid = series_uid or generate_uid()
    study_uid = generate_uid()
    paths = []
    for k, plane in enumerate(stored):
        dataset = _object(CTImageStorage, plane, bits)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        if modality is not None:
            dataset.Modality = modality
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.PatientName, dataset.PatientID = "SENTINEL^NAME", "SENTINEL-ID"
        dataset.InstanceNumber = k + 1
        dataset.ImagePositionPatient = [_ds(v) for v in at[k]]
        dataset.ImageOrientationPatient = [_ds(v) for v in orientation]
        dataset.PixelSpacing = [_ds(v) for v in spacing[1:]]
        dataset.SliceThickness = _ds(spacing[0])
        _set_rescale(dataset, slope, intercept)
        if padding is not None:
            dataset.add_new(0x00280120, "SS" if plane.dtype.kind == "i" else "US", padding)
        path = folder / (names[k] if names else f"slice{k:03d}.dcm")
        save(dataset, path, syntax)
        paths.append(path)
    return paths


def write_enhanced(
    path: Path,
    hu: ArrayLike,
    *,
    spacing: tuple[float, float, float] = (2.0, 0.75, 0.5),
    orientation: Sequence[float] = AXIAL,
    order: Sequence[int] | None = None,
    syntax: str = ExplicitVRLittleEndian,
) -> Path:
    """Write one enhanced multi-frame CT; slope, intercept and places stand in functional groups only.

    Args:
        path: file.
        hu: (n, rows, columns).
        spacing: mm between (slices, rows, columns).
        orientation: direction cosines along a row and along a column.
        order: which slice each frame holds.
        syntax: transfer syntax to store in.
    """
    array = np.asarray(hu)
    order = list(order) if order is not None else list(range(len(array)))
    at = positions(len(array), spacing=spacing[0], orientation=orientation)
    dataset = _object(EnhancedCTImageStorage, (array[order] + 1024).astype("<u2"), None)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.Modality, dataset.SeriesInstanceUID, dataset.NumberOfFrames = "CT", generate_uid(), len(array)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_with(ImageOrientationPatient=[_ds(v) for v in orientation])]
    shared.PixelMeasuresSequence = [_with(PixelSpacing=[_ds(v) for v in spacing[1:]], SliceThickness=_ds(spacing[0]))]
    shared.PixelValueTransformationSequence = [_with(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame = Dataset()
        frame.PlanePositionSequence = [_with(ImagePositionPatient=[_ds(v) for v in at[k]])]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    save(dataset, path, syntax)
    return path


def edit(path: Path, **elements: object) -> None:
    """Change elements of a file by keyword; None deletes."""
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    if "SOPInstanceUID" in elements:
        dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(str(elements["SOPInstanceUID"]))
    dataset.save_as(path)


PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "ID-17",
    "PatientBirthDate": "19600229",
    "PatientSex": "F",
    "PatientAge": "060Y",
    "PatientComments": "none",
    "StudyDate": "20200311",
    "StudyTime": "101112.5",
    "StudyID": "S-3",
    "AccessionNumber": "A-99",
    "ReferringPhysicianName": "Roe^Richard",
    "StudyDescription": "CT chest",
}
"""Elements of the Patient and Study modules, as :func:`identify` writes them."""


def identify(paths: Sequence[Path], **elements: object) -> None:
    """Give the objects of a series a patient, a study and a frame of reference; None leaves an element out."""
    values = PATIENT | {"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()} | elements
    for path in paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            if value is None:
                dataset.pop(keyword, None)
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(path)


def save(dataset: FileDataset, path: Path, syntax: str) -> None:
    """Store in a transfer syntax; compresses with pydicom's encoders, JPEG lossless with GDCM."""
    if syntax == JPEGLosslessSV1:
        plain = path.with_suffix(".plain")
        dataset.save_as(plain)
        _transcode(plain, path)
        plain.unlink()
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset["PixelData"].VR = "OW"
        pydicom.dcmwrite(path, dataset, little_endian=False, implicit_vr=False, force_encoding=True)
    else:
        uid = pydicom.uid.UID(syntax)
        if uid.is_encapsulated:
            dataset.compress(uid, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = uid
        dataset.save_as(path, little_endian=True, implicit_vr=uid.is_implicit_VR)


def _transcode(source: Path, target: Path) -> None:
    import gdcm  # type: ignore[import-untyped]

    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.Write()


def _object(sop_class: str, pixels: NDArray[Any], bits: int | None) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(sop_class), generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    allocated = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored = allocated, bits or allocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OW" if allocated > 8 else "OB"
    return dataset


def _set_rescale(dataset: Dataset, slope: float | None, intercept: float | None) -> None:
    if slope is not None:
        dataset.RescaleSlope = slope
    if intercept is not None:
        dataset.RescaleIntercept = intercept


def _with(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value:.10f}"[:16].rstrip(".")
