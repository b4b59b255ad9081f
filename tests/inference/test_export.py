"""Exported networks: what they compute, what travels with them, what is refused."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch

from covidct.errors import CheckpointError, ExportError, UsageError
from covidct.inference import Exported, export_checkpoint
from covidct.sample import collate
from covidct.tasks import BaseTask, ClassificationTask, ContrastiveTask, load_task, save_task
from tests.fakes.small_tasks import SMALL, small_task, write_small_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    Inputs = dict[str, Tensor]
    Run = Callable[[Inputs], Inputs]

slow = pytest.mark.slow
EXPORTS = [  # MaskedGAPResNet: test_export_paths.py; the sweep over all: tests/benchmarks/bench_export.py
    ("UNet2dTask", "pt2"),
    ("UNet2dTask", "onnx"),
    ("UNet3dTask", "pt2"),
    ("UNet3dTask", "onnx"),
    pytest.param(("COVNetTask", "pt2"), marks=slow),
    pytest.param(("ResNeXtPlusTask", "pt2"), marks=slow),
    pytest.param(("ResNeXtPlusTask", "onnx"), marks=slow),
    pytest.param(("GatedEnsembleTask", "pt2"), marks=slow),
    pytest.param(("SelfTransTask", "pt2"), marks=slow),
    pytest.param(("SliceClassifierTask", "onnx"), marks=slow),
]
DEPTHS = (8,) * 12 + (10, 12, 14, 16, 20, 24, 40, 200)  # of 20 cases
FIXED = 10  # slices of ResNeXt+ in a .pt2 file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


def run_pt2(path: Path) -> Run:
    """Run a file by PyTorch."""
    module = torch.export.load(path).module()
    return lambda inputs: module(**inputs)


def run_onnx(path: Path) -> Run:
    """Run a file by ONNX Runtime."""
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Inputs) -> Inputs:
        found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

    return run


@pytest.fixture(scope="module", params=EXPORTS)
def exported(request: pytest.FixtureRequest, folder: Path) -> tuple[BaseTask, Exported, Run]:
    """The task, what was told of its export, and the file."""
    name, form = request.param
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    fixed = FIXED if (name, form) == ("ResNeXtPlusTask", "pt2") else None
    path = write_small_task(name, folder)
    told = export_checkpoint(path, folder / f"{name}.{form}", format=form, depth=fixed)
    return load_task(path), told, (run_pt2 if form == "pt2" else run_onnx)(told.path)


def cases(task: BaseTask, depths: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """20 random samples of a task's kind."""
    numbers = torch.Generator().manual_seed(1)
    assert task.preprocessing is not None
    size = task.preprocessing.size or 0
    for at, depth in enumerate(depths):
        shape = (1, *((depth,) if task.kind == "ct_volume" else ()), size, size)
        sample: dict[str, Any] = {"image": torch.rand(shape, generator=numbers), "id": f"case-{at}"}
        sample |= {key: torch.tensor(at) for key in ("scan", "subject")}
        if "lung_mask" in task.inputs:
            sample["lung_mask"] = (torch.rand(shape, generator=numbers) < 0.3).to(torch.uint8)
        if "contrast" in task.inputs:
            sample["contrast"] = torch.tensor(0.1 + 0.2 * (at % 2))
        yield sample


def expected(task: BaseTask, samples: list[dict[str, Any]]) -> list[Tensor]:
    """Probabilities or features by ``predict``, scans padded in a batch; of masks those of the network."""
    batch = collate(samples)
    with torch.inference_mode():
        if isinstance(task, ClassificationTask):
            return list(task.predict_step(batch, 0)["prob"])
        if isinstance(task, ContrastiveTask):
            return list(task.predict_step(batch, 0)["features"])
        logits = [task.model(sample["image"][None]) for sample in samples]
    return [(one.softmax(1) if one.shape[1] > 1 else one.sigmoid())[0] for one in logits]


def test_20_cases_get_the_probabilities_of_predict(exported: tuple[BaseTask, Exported, Run]) -> None:
    task, told, run = exported
    depths = DEPTHS if told.inputs["image"][2] != FIXED else (FIXED,) * len(DEPTHS)
    limit = 1e-5 if told.format == "pt2" else 1e-4
    samples = list(cases(task, depths))
    wanted = [prob for at in range(0, 20, 2) for prob in expected(task, samples[at : at + 2])]
    main = "features" if isinstance(task, ContrastiveTask) else "prob"
    for sample, prob in zip(samples, wanted, strict=True):
        found = run({name: sample[name][None] for name in told.inputs})
        assert set(found) == set(told.outputs)
        torch.testing.assert_close(found[main][0], prob, rtol=limit if main == "features" else 0, atol=limit)


def test_scans_in_a_batch_are_those_alone(exported: tuple[BaseTask, Exported, Run]) -> None:
    task, told, run = exported
    depth = FIXED if told.inputs["image"][2] == FIXED else 12
    samples = list(cases(task, (depth,) * 5))
    together = run({name: torch.stack([sample[name] for sample in samples]) for name in told.inputs})
    for at, sample in enumerate(samples):
        alone = run({name: sample[name][None] for name in told.inputs})
        for name, value in alone.items():
            torch.testing.assert_close(together[name][at], value[0], rtol=1e-4, atol=1e-4)


def test_what_is_told_of_an_export_holds(exported: tuple[BaseTask, Exported, Run]) -> None:
    task, told, _ = exported
    assert told.inputs["image"][0] == "batch"
    assert all(axes[0] == "batch" for axes in told.outputs.values())
    assert len(told.tried) >= 2
    assert set(told.differences) == set(told.outputs)
    fixed = told.inputs["image"][2] == FIXED
    if task.kind == "ct_volume" and not fixed:
        assert told.inputs["image"][2] in ("depth", "2*n")
    assert any("nn.LSTM" in note for note in told.notes) == fixed


@slow
@pytest.mark.parametrize("name", ["COVNetTask", "CovidCTMaskNetTask", "GatedEnsembleTask", "SelfTransTask"])
def test_a_folder_of_safetensors_is_the_task(name: str, folder: Path) -> None:
    path = write_small_task(name, folder)
    told = export_checkpoint(path, folder / f"{name}-safetensors", format="safetensors")
    again, task = BaseTask.from_pretrained(told.path), load_task(path)
    assert type(again) is type(task)
    assert again.preprocessing == task.preprocessing
    torch.testing.assert_close(again.state_dict(), task.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("form", ["pt2", "onnx", "monai-bundle", "safetensors"])
def test_the_record_travels_and_nothing_of_this_machine_does(
    form: Literal["pt2", "onnx", "monai-bundle", "safetensors"], folder: Path
) -> None:
    path = write_small_task("UNet2dTask", folder)
    out = folder / ("place.pt2" if form == "pt2" else "place.onnx" if form == "onnx" else f"place-{form}")
    export_checkpoint(path, out, format=form)
    if form == "pt2":
        extra = {"covidct.json": ""}
        torch.export.load(out, extra_files=extra)
        record = json.loads(extra["covidct.json"])
    elif form == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(str(out))
        record = json.loads(session.get_modelmeta().custom_metadata_map["covidct"])
    elif form == "monai-bundle":
        record = json.loads((out / "configs" / "metadata.json").read_text(encoding="utf-8"))["covidct"]
    else:
        record = json.loads((out / "config.json").read_text(encoding="utf-8"))
    task = load_task(path)
    assert task.preprocessing is not None
    assert record["preprocessing"] == task.preprocessing.to_dict()
    assert record["class_names"] == ["background", "lung"]
    root = Path(__file__).parents[2]
    places = [str(folder), str(root), "site-packages", "test_export", ".py", f"/{getpass.getuser()}/"]
    for content in contents(out):
        assert [place for place in places if place.encode() in content] == []


def contents(out: Path) -> Iterator[bytes]:
    """Bytes of all files, those inside zips too."""
    for path in [out, *out.rglob("*")] if out.is_dir() else [out]:
        if path.is_file():
            yield path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    yield from (archive.read(name) for name in archive.namelist())


def test_normalisation_is_told(folder: Path) -> None:
    out = folder / "normalised"
    export_checkpoint(write_small_task("SliceClassifierTask", folder), out, format="monai-bundle")
    record = json.loads((out / "configs" / "metadata.json").read_text(encoding="utf-8"))["covidct"]
    (told,) = record["normalisation"]
    assert told["part"] == "trunk"
    assert told["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert told["std"] == pytest.approx([0.229, 0.224, 0.225])


@slow
def test_a_pt2_file_needs_pytorch_alone(folder: Path) -> None:
    out = folder / "alone.pt2"
    export_checkpoint(write_small_task("UNet2dTask", folder), out)
    code = (
        "import sys, torch\n"
        f"found = torch.export.load({str(out)!r}).module()(image=torch.zeros(2, 1, 48, 48))\n"
        "assert found['prob'].shape == (2, 1, 48, 48)\n"
        "assert 'covidct' not in sys.modules and 'torchvision' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["CovidCTMaskNetTask", "LesionMaskRCNNTask"])
@pytest.mark.parametrize("form", ["pt2", "onnx"])
def test_detectors_say_why_they_cannot(name: str, form: Literal["pt2", "onnx"], folder: Path) -> None:
    with pytest.raises(UsageError, match=r"non-maximum suppression.*--format safetensors"):
        export_checkpoint(write_small_task(name, folder), folder / f"x.{form}", format=form)


def test_an_lstm_needs_a_depth(folder: Path) -> None:
    path = write_small_task("ResNeXtPlusTask", folder)
    with pytest.raises(UsageError, match=r"torch\.export fixes the number of slices: give it by --depth"):
        export_checkpoint(path, folder / "x.pt2")


def test_depth_and_size_must_fit(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a multiple of 2, 4 or more"):
        export_checkpoint(write_small_task("UNet3dTask", folder), folder / "x.pt2", depth=9)
    path = write_small_task("UNet2dTask", folder)
    with pytest.raises(UsageError, match="images have no depth"):
        export_checkpoint(path, folder / "x.pt2", depth=9)
    with pytest.raises(UsageError, match="trained on 48 pixels per side, not 50"):
        export_checkpoint(path, folder / "x.pt2", size=50)
    task = small_task("UNet2dTask")
    assert task.preprocessing is not None
    task.preprocessing = replace(task.preprocessing, size=None)
    save_task(task, tmp_path / "free.ckpt")
    with pytest.raises(UsageError, match="give it by --size"):
        export_checkpoint(tmp_path / "free.ckpt", tmp_path / "x.pt2")
    told = export_checkpoint(tmp_path / "free.ckpt", tmp_path / "x", format="safetensors", size=32)
    assert told.inputs == {"image": ("batch", 1, 32, 32)}


def test_the_place_must_be_free_and_fit_the_format(folder: Path, tmp_path: Path) -> None:
    path = write_small_task("UNet2dTask", folder)
    with pytest.raises(UsageError, match=r"end in \.pt2"):
        export_checkpoint(path, tmp_path / "x.onnx")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="there already"):
        export_checkpoint(path, tmp_path / "full", format="safetensors")
    assert (tmp_path / "full" / "thesis.txt").exists()


def test_a_checkpoint_without_a_record_is_refused(tmp_path: Path) -> None:
    task = small_task("UNet2dTask")
    task.preprocessing = None
    save_task(task, tmp_path / "t.ckpt")
    with pytest.raises(CheckpointError, match="no recorded pre-processing"):
        export_checkpoint(tmp_path / "t.ckpt", tmp_path / "x.pt2")


def test_the_missing_extra_is_one_sentence(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidct.inference.export_onnx.find_spec", lambda name: None if "onnxr" in name else name)
    with pytest.raises(UsageError, match=r"need onnxruntime, not installed here: pip install 'covidct\[export\]'"):
        export_checkpoint(write_small_task("UNet2dTask", folder), tmp_path / "x.onnx", format="onnx")


@pytest.mark.parametrize(("shift", "told"), [(1e-3, "differs .* by 0.001"), (float("nan"), "differs .* by inf")])
def test_what_computes_something_else_is_not_kept(
    shift: float, told: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(network: torch.nn.Module, _: object, path: Path, __: object) -> Run:
        path.write_bytes(b"wrong")
        return lambda inputs: {name: value + shift for name, value in network(**inputs).items()}

    monkeypatch.setattr("covidct.inference.export.write_program", wrong)
    with pytest.raises(ExportError, match=told):
        export_checkpoint(write_small_task("UNet2dTask", folder), tmp_path / "x.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_nan_is_refused(tmp_path: Path) -> None:
    task = small_task("UNet2dTask")
    for parameter in task.model.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    save_task(task, tmp_path / "nan.ckpt")
    with pytest.raises(ExportError, match="not finite on a random image"):
        export_checkpoint(tmp_path / "nan.ckpt", tmp_path / "x.pt2")


def test_every_task_has_a_small_form() -> None:
    from tests.tasks.conftest import concrete_tasks

    assert set(SMALL) == set(concrete_tasks())
