"""``covidct fit``, ``validate``, ``test``, ``predict``: Lightning's command line, from arguments to files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from covidct import RESEARCH_USE
from covidct.__main__ import main
from covidct.tasks import load_task
from covidct.weights import RECORD_KEY, load_checkpoint
from tests.fakes.checkpoint import tiny_data

MODEL = ["--model=MaskedGAPResNetTask", "--model.num_classes=3", "--model.backbone=resnet18", "--model.slice_size=40"]
DATA = [
    "--data=CTVolumeDataModule",
    "--data.dataset=PhantomCTVolumes",
    "--data.dataset.num_subjects=6",
    "--data.dataset.shape=[24,32,32]",
    "--data.val_fraction=0.34",
    "--data.test_fraction=0.34",
]
TRAINER = [
    "--trainer.accelerator=cpu",
    "--trainer.max_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.num_sanity_val_steps=0",
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder of its own, with the prepared phantoms of all tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVIDCT_CACHE", str(tmp_path_factory.getbasetemp() / "prepared"))
    return tmp_path


def test_fit_trains_and_leaves_a_checkpoint_and_its_config(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*MODEL, *DATA, "--data.size=32", *TRAINER, "--trainer.logger=CSVLogger"]
    assert main(["fit", *arguments, "--trainer.logger.save_dir=logs"]) == 0
    (saved,) = place.rglob("*.ckpt")
    assert str(saved.relative_to(place)) in capsys.readouterr().out
    task = load_task(saved)
    assert task.preprocessing is not None
    assert task.preprocessing.size == 32
    (config,) = place.rglob("config.yaml")
    assert yaml.safe_load(config.read_text())["seed_everything"] == 0
    # the saved config runs again, on top of what it left
    assert main(["fit", "--config", str(config), f"--ckpt_path={saved}", "--trainer.max_steps=2"]) == 0


def test_a_training_goes_on_where_it_was_and_replaces_no_other(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", *MODEL, *DATA, "--data.size=32", *TRAINER, "--trainer.logger=false"]
    assert main([*arguments, "--ckpt_path=auto"]) == 0
    assert "no checkpoint in checkpoints yet: a fresh training begins" in capsys.readouterr().out
    last = place / "checkpoints" / "last.ckpt"
    assert load_checkpoint(last)["global_step"] == 1
    before = {file.name: file.read_bytes() for file in (last, place / "config.yaml")}
    assert main([*arguments, "--trainer.callbacks=covidct.callbacks.RunManifest"]) == 2
    assert "checkpoints holds the states of another training" in " ".join(capsys.readouterr().err.split())
    assert {name: file.read_bytes() for name in before for file in place.rglob(name)} == before
    assert not (place / "run.json").exists()
    assert main([*arguments, "--ckpt_path=auto", "--trainer.max_steps=2"]) == 0
    assert load_checkpoint(last)["global_step"] == 2


def test_an_own_optimizer_and_scheduler(place: Path) -> None:
    own = ["--model.optimizer=SGD", "--model.optimizer.lr=0.1", "--model.lr_scheduler=StepLR"]
    arguments = [*MODEL, *DATA, "--data.size=32", *TRAINER, *own, "--model.lr_scheduler.step_size=1"]
    assert main(["fit", *arguments, "--trainer.logger=false"]) == 0


def test_test_writes_the_report(place: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--ckpt_path={checkpoint}", *DATA, "--trainer.logger=false", "--trainer.accelerator=cpu"]
    assert main(["test", *arguments, "--out=report"]) == 0
    assert RESEARCH_USE in capsys.readouterr().out
    metrics = json.loads((place / "report" / "metrics.json").read_text())
    data = tiny_data(place / "cache")
    data.prepare_data()
    data.setup("test")
    assert metrics["cases"] == len(data.records("test")) > 0
    assert metrics["run"]["task"] == "MaskedGAPResNetTask"
    assert RESEARCH_USE in (place / "report" / "report.html").read_text()


@pytest.mark.parametrize("verb", ["test", "predict"])
def test_what_one_process_writes_is_refused_to_several(
    place: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    devices = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    assert main([verb, *DATA, "--ckpt_path", str(checkpoint), "--out=written", *TRAINER, *devices]) == 2
    assert "use --trainer.devices=1" in " ".join(capsys.readouterr().err.split())
    assert not (place / "written").exists()


def test_validate_prints_metrics(place: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--ckpt_path={checkpoint}", *DATA, "--trainer.logger=false", "--trainer.accelerator=cpu"]
    assert main(["validate", *arguments]) == 0
    assert "val_loss" in capsys.readouterr().out


def test_predict_writes_the_probabilities_of_the_library_path(place: Path, checkpoint: Path) -> None:
    arguments = [f"--ckpt_path={checkpoint}", *DATA, "--trainer.logger=false", "--trainer.accelerator=cpu"]
    assert main(["predict", *arguments, "--out=sub/p.csv"]) == 0
    with (place / "sub" / "p.csv").open(newline="") as file:
        found = {
            row["id"]: [float(row[f"prob_{name}"]) for name in ("normal", "cap", "covid")]
            for row in csv.DictReader(file)
        }
    data = tiny_data(place / "cache")
    data.prepare_data()
    data.setup("predict")
    task = load_task(checkpoint)
    with torch.inference_mode():
        for batch in data.predict_dataloader():
            wanted = task.predict_step(batch, 0)["prob"].tolist()
            for name, row in zip(batch["id"], wanted, strict=True):
                assert found.pop(name) == pytest.approx(row, abs=1e-5)
    assert not found


def test_the_preprocessing_is_the_checkpoints_unless_it_is_contradicted(
    place: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", f"--ckpt_path={checkpoint}", *DATA, "--trainer.logger=false", "--trainer.accelerator=cpu"]
    assert main([*arguments, "--data.size=40"]) == 2
    assert "checkpoint 32" in capsys.readouterr().err
    assert main([*arguments, "--data.size=32"]) == 0


def test_slices_of_a_checkpoint_are_slices_of_the_test(
    place: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = load_checkpoint(checkpoint)
    content[RECORD_KEY]["preprocessing"]["grid"] = "slices"
    torch.save(content, place / "slices.ckpt")
    arguments = ["predict", f"--ckpt_path={place / 'slices.ckpt'}", *DATA, "--trainer.logger=false"]
    assert main([*arguments, "--data.grid=cube"]) == 2
    assert "grid: checkpoint 'slices'" in capsys.readouterr().err
    assert main([*arguments, "--trainer.accelerator=cpu"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit"], "data"),
        (["fit", *DATA], "model"),
        (["fit", *MODEL, *DATA, "--model.num_clases=3"], "num_clases"),
        (["fit", *MODEL, *DATA, "--data.dataset.roots=x"], "roots"),
        (["fit", "--config=nowhere.yaml"], "nowhere.yaml"),
        (["fit", *MODEL, *DATA, "--trainer.accelerator=abacus"], "abacus"),
        (["fit", *MODEL, *DATA, "--trainer.precision=7"], "7"),
        (["fit", *MODEL, *DATA, "--trainer.max_steps=many"], "many"),
        (["fit", *MODEL, *DATA, "--model.backbone=resnet19"], "resnet19"),
        (["fit", *MODEL, *DATA, "--data.size=3"], "size"),
        (["fit", *MODEL, *DATA, "--data.window=[1,0]"], "window"),
        (["fit", "--model=NoSuchTask", *DATA], "NoSuchTask"),
        (["test", *DATA], "--ckpt_path"),
        (["predict", *DATA, "--ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_code_2_or_3(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == (3 if "nowhere.ckpt" in words else 2), captured.err
    assert captured.err.count("\n") == 1, captured.err
    assert words in captured.err
    assert len(captured.err) < 500
    assert not list(place.rglob("*.ckpt"))


def test_ctrl_c_in_a_training_is_130_and_says_where_to_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import signal

    from covidct.tasks import MaskedGAPResNetTask

    step = MaskedGAPResNetTask.training_step

    def stop(task: MaskedGAPResNetTask, *given: object) -> object:
        if task.trainer.current_epoch == 1:
            raise KeyboardInterrupt
        return step(task, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(MaskedGAPResNetTask, "training_step", stop)
    handler = signal.getsignal(signal.SIGINT)
    endless = ["--trainer.max_steps=-1", "--trainer.max_epochs=3", "--trainer.limit_train_batches=1"]
    try:
        assert main(["fit", *MODEL, *DATA, "--data.size=32", *TRAINER, *endless, "--trainer.logger=false"]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "last.ckpt: --ckpt_path=auto goes on from it" in " ".join(capsys.readouterr().err.split())


def test_the_shipped_config_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(__file__).parents[2] / "examples" / "configs" / "masked_gap_resnet.yaml"
    small = ["--model.backbone=resnet18", "--model.weights=null", "--model.slice_size=40", "--data.size=32"]
    classes = ["--data.dataset.classes=covid_vs_rest"]
    arguments = ["--config", str(config), *DATA[1:], *classes, *small, "--trainer.fast_dev_run=1"]
    code = main(["fit", *arguments, "--trainer.accelerator=cpu", "--trainer.precision=32-true"])
    assert code == 0, capsys.readouterr().err


def test_help_of_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--help"]) == 0
    assert "--ckpt_path" in capsys.readouterr().out
