from __future__ import annotations

import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from covidct.datamodules import BaseDataModule, CTSliceDataModule, CTVolumeDataModule, CXRDataModule
from covidct.errors import InputError, ManifestError, UsageError
from covidct.sample import check_batch
from tests.fakes.chests import FakeCXR, FakeSlices, FakeVolumes
from tests.fakes.cohort import write_table, write_volumes

if TYPE_CHECKING:
    from covidct.datamodules.prepared import PreparedSamples
    from covidct.datamodules.sampling import EpochSampler
    from covidct.datasets import Raw, Record
    from covidct.datasets.base import Split


def volumes(folder: Path, dataset: FakeVolumes | None = None, **options: Any) -> CTVolumeDataModule:  # noqa: ANN401
    options = {"size": 16, "mask_source": "file", "cache_dir": str(folder), **options}
    return CTVolumeDataModule(dataset or FakeVolumes(12), **options)


def ready(module: BaseDataModule) -> BaseDataModule:
    module.prepare_data()
    module.setup("fit")
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def modules(folder: Path, **options: Any) -> list[BaseDataModule]:  # noqa: ANN401
    common = {"size": 16, "mask_source": "file", "cache_dir": str(folder), "batch_size": 3, **options}
    return [
        CTVolumeDataModule(FakeVolumes(12), **common),
        CTSliceDataModule(FakeSlices(12), **common),
        CXRDataModule(FakeCXR(12), **common),
    ]


@pytest.mark.parametrize("shape", range(3))
def test_batches_keep_the_contract_in_every_stage(folder: Path, shape: int) -> None:
    module = ready(modules(folder)[shape])
    assert module.class_names == ("normal", "cap", "covid")
    seen = {}
    for stage in ("train", "val", "test", "predict"):
        batches = list(getattr(module, f"{stage}_dataloader")())
        for batch in batches:
            check_batch(batch, module.preprocessing.kind, ["label", "lung_mask"])
        seen[stage] = [name for batch in batches for name in batch["id"]]
    parts = [set(seen[stage]) for stage in ("train", "val", "test")]
    assert set.union(*parts) == set(seen["predict"])
    assert sum(len(part) for part in parts) == len(seen["predict"]) == len(module.dataset)


@pytest.mark.parametrize("shape", range(3))
def test_number_of_workers_changes_nothing(folder: Path, shape: int) -> None:
    runs = []
    for workers in (0, 2):
        loader = ready(modules(folder, num_workers=workers)[shape]).train_dataloader()
        epochs = []
        for epoch in (0, 1):
            cast("EpochSampler", loader.sampler).set_epoch(epoch)
            epochs.append(list(loader))
        runs.append(epochs)
    for one, other in zip(*runs, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a["id"] == b["id"]
            assert all(torch.equal(a[key], b[key]) for key in a if key not in ("id", "spacing"))
    assert not torch.equal(runs[0][0][0]["image"], runs[0][1][0]["image"])


def test_one_gather_gives_what_samples_give(folder: Path) -> None:
    for module in modules(folder, augment=False):
        dataset = cast("PreparedSamples", ready(module).train_dataloader().dataset)
        batch = dataset.__getitems__([1, 0])
        for place, index in enumerate((1, 0)):
            sample = dataset[index]
            assert batch["id"][place] == sample["id"]
            for key, value in sample.items():
                if key != "id":
                    torch.testing.assert_close(batch[key][place], value, rtol=0, atol=0, equal_nan=True)


def test_epoch_from_the_cache_reads_no_scan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(volumes(folder))
    monkeypatch.setattr(FakeVolumes, "load", lambda *_: pytest.fail("read a scan that is in the cache"))
    assert len(list(ready(volumes(folder)).predict_dataloader())) == 12


def test_changed_content_or_recipe_is_prepared_anew(folder: Path) -> None:
    def first(**options: Any) -> torch.Tensor:  # noqa: ANN401
        image: torch.Tensor = next(iter(ready(volumes(folder, **options)).predict_dataloader()))["image"]
        return image

    old = first()
    assert torch.equal(first(), old)
    assert not torch.equal(first(dataset=FakeVolumes(12, version=2)), old)
    assert not torch.equal(first(window=(-1000.0, 400.0)), old)


def test_damaged_entry_is_prepared_anew(tmp_path: Path) -> None:
    expected = next(iter(ready(volumes(tmp_path)).predict_dataloader()))["image"]
    for entry in tmp_path.rglob("*.arrays"):
        data = bytearray(entry.read_bytes())
        data[-9] ^= 0xFF
        entry.write_bytes(data)
    assert torch.equal(next(iter(ready(volumes(tmp_path)).predict_dataloader()))["image"], expected)


def test_failures_are_collected_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as caught:
        volumes(tmp_path, FakeVolumes(12, broken=tuple(range(7)))).prepare_data()
    message = str(caught.value)
    assert message.startswith("7 of 12 scans cannot be used: [scan-0] Scan 0 is broken")
    assert "scan-4" in message
    assert "scan-5" not in message
    read: list[int] = []
    load = FakeVolumes.load

    def noted(self: FakeVolumes, source: int) -> Raw:
        read.append(source)
        return load(self, source)

    monkeypatch.setattr(FakeVolumes, "load", noted)
    volumes(tmp_path, FakeVolumes(12)).prepare_data()
    assert sorted(read) == list(range(7))


@pytest.mark.parametrize("shape", range(3))
def test_skip_leaves_out_what_fails(tmp_path: Path, shape: int) -> None:
    module = modules(tmp_path, on_failure="skip")[shape]
    assert isinstance(module.dataset, FakeVolumes)
    module.dataset.broken = (3, 5)
    ready(module)
    assert len(module.failures) == 2
    names = {name for batch in module.predict_dataloader() for name in batch["id"]}
    assert not any(name.startswith(("scan-3", "scan-5")) for name in names)
    assert len(names) == len(module.dataset) * 10 // 12


def test_log_of_failures_holds_no_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = volumes(tmp_path, FakeVolumes(12, broken=(1,)), on_failure="skip")
    with caplog.at_level("DEBUG", logger="covidct"):
        ready(module)
    assert "1 scans could not be prepared and are left out: scan-1;" in caplog.text
    assert "broken" not in caplog.text


def test_setup_before_prepare_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"call prepare_data\(\) before setup\(\)"):
        volumes(tmp_path).setup("fit")


def test_subject_stays_in_one_part(folder: Path) -> None:
    module = ready(volumes(folder, FakeVolumes(24, scans=2)))
    subjects = [{record.subject for record in module.records(part)} for part in ("train", "val", "test")]
    assert not subjects[0] & subjects[1]
    assert not subjects[0] & subjects[2]
    assert not subjects[1] & subjects[2]


def test_overlap_of_a_data_sets_own_split_is_refused(folder: Path) -> None:
    class Leaky(FakeVolumes):
        def make_records(self) -> Any:  # noqa: ANN401
            parts: tuple[Split, ...] = ("train", "val", "test")
            return tuple(replace(record, split=parts[i % 3]) for i, record in enumerate(super().make_records()))

    with pytest.raises(ManifestError, match="more than one split"):
        ready(volumes(folder, Leaky(12, scans=2)))


def test_overlap_is_taken_with_a_warning_when_it_is_asked_for(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Leaky(FakeVolumes):
        def make_records(self) -> Any:  # noqa: ANN401
            parts: tuple[Split, ...] = ("train", "val", "test")
            return tuple(replace(record, split=parts[i % 3]) for i, record in enumerate(super().make_records()))

    module = ready(volumes(folder, Leaky(12, scans=2), allow_subject_overlap=True))
    assert all(module.records(part) for part in ("train", "val", "test"))
    assert "too good to be true" in caplog.text
    caplog.clear()
    dataset = Leaky(12, scans=2)
    dataset.allow_subject_overlap = True
    ready(volumes(folder, dataset))
    assert "too good to be true" in caplog.text


def test_weights_and_balanced_sampling(folder: Path) -> None:
    module = ready(volumes(folder, FakeRare(30), balanced_sampling=True))
    labels = torch.tensor([record.label for record in module.records("train")])
    weights = module.class_weights()
    assert weights.dtype == torch.float32
    n, rare = len(labels), int(labels.sum())
    torch.testing.assert_close(weights, torch.tensor([n / (3 * (n - rare)), n / (3 * rare), 0.0]))
    drawn = torch.cat([batch["label"] for batch in module.train_dataloader()])
    assert abs(int((drawn == 1).sum()) - len(drawn) / 2) <= 1


def test_unlabelled_scans_are_predicted_only(folder: Path) -> None:
    class Unlabelled(FakeVolumes):
        def record(self, source: int) -> Any:  # noqa: ANN401
            record = super().record(source)
            return replace(record, label=-1) if source >= 12 else record

    module = ready(volumes(folder, Unlabelled(14)))
    assert sum(len(module.records(part)) for part in ("train", "val", "test")) == 12
    assert len(cast("PreparedSamples", module.predict_dataloader().dataset)) == 14


class WithoutClass(FakeVolumes):
    """Chests of which no class is known, for segmentation; two scans of each subject."""

    def __init__(self, count: int = 24) -> None:
        super().__init__(count, scans=2)

    def record(self, source: int) -> Record:
        return replace(super().record(source), label=-1)


@pytest.mark.parametrize("options", [{}, {"num_folds": 3, "fold": 1}, {"balanced_sampling": True}])
def test_a_data_set_without_classes_is_used_whole(folder: Path, options: dict[str, Any]) -> None:
    module = ready(volumes(folder, WithoutClass(), **options))
    parts = [module.records(part) for part in ("train", "val", "test")]
    assert all(parts)
    assert sorted(record.id for part in parts for record in part) == sorted(r.id for r in module.dataset.records)
    subjects = [{record.subject for record in part} for part in parts]
    assert sum(map(len, subjects)) == len(set.union(*subjects))
    drawn = [name for batch in module.train_dataloader() for name in batch["id"]]
    assert sorted(drawn) == sorted(record.id for record in parts[0])
    assert module.class_weights().tolist() == [0, 0, 0]


def test_pickles_and_keeps_plain_hyperparameters(folder: Path) -> None:
    for module in modules(folder):
        ready(module)
        again = pickle.loads(pickle.dumps(module))  # noqa: S301
        batch, copy = next(iter(module.train_dataloader())), next(iter(again.train_dataloader()))
        assert torch.equal(batch["image"], copy["image"])
        kinds = (str, int, float, bool, type(None), tuple, list)
        assert all(isinstance(value, kinds) for value in module.hparams.values())
        assert not {"dataset", "cache_dir", "train_transform", "hold_out_site"} & set(module.hparams)
        assert str(folder) not in str(dict(module.hparams))


def test_two_processes_fill_one_cache(tmp_path: Path) -> None:
    module = volumes(tmp_path, prepare_workers=2)
    ready(module)
    assert len(list(tmp_path.rglob("*.arrays"))) == 12


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"num_workers": -1}, "num_workers=-1"),
        ({"prepare_workers": -2}, "prepare_workers=-2"),
        ({"on_failure": "ignore"}, "on_failure='ignore'"),
        ({"split": "random"}, "split='random'"),
        ({"window": (250.0, -1250.0)}, "window"),
        ({"size": 2}, "size=2"),
        ({"num_folds": 3, "fold": 3}, "fold=3"),
        ({"masking": "lungs", "mask_source": "none"}, "needs a lung mask"),
    ],
)
def test_wrong_arguments_are_refused_at_once(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        volumes(tmp_path, **options)


def test_data_set_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes data sets of kind ct_volume, FakeCXR is of kind cxr"):
        CTVolumeDataModule(FakeCXR(3), cache_dir=str(tmp_path))

    class Shown(FakeVolumes):
        intensity = "unit"

    with pytest.raises(UsageError, match="window=null"):
        volumes(tmp_path, Shown(3))


def test_parts_that_are_empty(folder: Path) -> None:
    module = ready(volumes(folder, val_fraction=0.0, test_fraction=0.0))
    assert module.val_dataloader() == []
    with pytest.raises(UsageError, match="no samples for test"):
        module.test_dataloader()


def test_one_scan_can_be_predicted_and_a_cohort_only_tested(folder: Path) -> None:
    module = volumes(folder, FakeVolumes(1))
    module.prepare_data()
    module.setup("predict")
    assert len(list(module.predict_dataloader())) == 1
    tested = ready(volumes(folder, val_fraction=0.0, test_fraction=1.0))
    assert len(list(tested.test_dataloader())) == 12
    with pytest.raises(UsageError, match="no samples for train"):
        tested.train_dataloader()


def test_cohort_from_a_table(tmp_path: Path) -> None:
    from covidct.datasets import ManifestVolumes

    splits = ["train"] * 3 + ["val"] + ["test"] * 2
    table = write_volumes(tmp_path, 6, splits=splits)
    cache = tmp_path / "cache"
    options: dict[str, Any] = {"size": 16, "mask_source": "file", "cache_dir": str(cache), "augment": False}
    module = ready(CTVolumeDataModule(ManifestVolumes(table), **options))
    assert [len(module.records(part)) for part in ("train", "val", "test")] == [3, 1, 2]
    batch = next(iter(module.test_dataloader()))
    check_batch(batch, "ct_volume", ["lung_mask", "lesion_mask", "slice_label"])
    held = " ".join(str(path.relative_to(cache)) for path in cache.rglob("*"))
    held += " ".join(path.read_bytes().decode("latin-1") for path in cache.rglob("*") if path.is_file())
    assert "Doe" not in held
    assert ".nii.gz" not in held
    # an old file under the same name: another content, another entry
    before = next(iter(module.predict_dataloader()))["image"]
    (tmp_path / "0.nii.gz").write_bytes((tmp_path / "1.nii.gz").read_bytes())
    os.utime(tmp_path / "0.nii.gz", (time.time() + 5, time.time() + 5))
    after = next(iter(ready(CTVolumeDataModule(ManifestVolumes(table), **options)).predict_dataloader()))["image"]
    assert not torch.equal(before, after)


def test_missing_file_in_a_table_stops_before_any_work(tmp_path: Path) -> None:
    from covidct.datasets import ManifestVolumes

    table = write_table(tmp_path / "t.csv", [{"path": "no.nii", "label": "covid", "subject": "p"}])
    with pytest.raises(ManifestError, match=r"row 1: the path no\.nii does not exist"):
        CTVolumeDataModule(ManifestVolumes(table), cache_dir=str(tmp_path / "cache")).prepare_data()
    assert not (tmp_path / "cache").exists()


class Recorder(pl.LightningModule):
    """Learns nothing much and remembers what it was shown."""

    def __init__(self, out: str | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[tuple[list[str], float]] = []
        self.labels: list[int] = []
        self.out = out

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.seen.append((batch["id"], float(batch["image"].sum())))
        self.labels += batch["label"].tolist()
        loss: torch.Tensor = self.layer(batch["image"].mean().reshape(1, 1)).sum()
        return loss

    def on_train_end(self) -> None:
        if self.out:
            Path(f"{self.out}-{self.global_rank}").write_text(" ".join(map(str, self.labels)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer(**options: Any) -> pl.Trainer:  # noqa: ANN401
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(**{**quiet, "enable_checkpointing": False, "limit_val_batches": 0, **options})


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_run_goes_on_with_the_batch_it_missed(folder: Path, tmp_path: Path, workers: int) -> None:
    def module() -> CTVolumeDataModule:
        return volumes(folder, batch_size=2, num_workers=workers)

    whole, second = Recorder(), Recorder()
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=7, save_top_k=-1)
    trainer(max_epochs=3, callbacks=[keep], enable_checkpointing=True).fit(whole, module())
    steps = len(whole.seen) // 3
    assert 3 < steps < 7  # step 7 is in the middle of the second epoch
    trainer(max_epochs=3).fit(second, module(), ckpt_path=str(tmp_path / "step=7.ckpt"), weights_only=True)
    assert second.seen == whole.seen[7:]


@pytest.mark.ddp
@pytest.mark.slow
def test_balanced_mix_in_two_processes(folder: Path, tmp_path: Path) -> None:
    module = volumes(folder, FakeRare(24), balanced_sampling=True, test_fraction=0.0)
    trainer(max_epochs=2, devices=2, strategy="ddp_spawn").fit(Recorder(str(tmp_path / "seen")), module)
    labels = [int(label) for rank in range(2) for label in (tmp_path / f"seen-{rank}").read_text().split()]
    assert abs(labels.count(1) - len(labels) / 2) <= 0.02 * len(labels) + 2


class FakeRare(FakeVolumes):
    """Every sixth scan is of class 1."""

    def record(self, source: int) -> Any:  # noqa: ANN401
        return replace(super().record(source), label=int(source % 6 == 0))
