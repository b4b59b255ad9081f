"""``covidct fit``, ``validate``, ``test`` and ``predict``: Lightning's command line on tasks and data modules."""

from __future__ import annotations

from argparse import ArgumentError
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from covidct.callbacks import Checkpoints, PrivateWandbLogger, find_checkpoint
from covidct.cli.checkpoint_places import checkpoint_places
from covidct.cli.command import usage_sentence
from covidct.cli.console import note, research_use, results
from covidct.cli.lost_process import lost_process, tell_of_lost_processes
from covidct.cli.prediction_rows import predict_rows
from covidct.cli.presets import with_presets
from covidct.cli.quiet import quiet_lightning
from covidct.cli.run_config import RunConfig
from covidct.datamodules import BaseDataModule
from covidct.errors import CovidctError, UsageError
from covidct.tasks import BaseTask, CovidCTMaskNetTask, DetectionTask, SegmentationTask, load_task
from covidct.weights import load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("TaskCLI", "import_parts", "own_error", "run")


def run(verb: str, argv: Sequence[str]) -> int:
    """Entry of the four commands."""
    quiet_lightning()
    tell_of_lost_processes()
    import_parts()
    try:
        command = TaskCLI(verb, argv)
    except (ArgumentError, MisconfigurationException, TypeError, ValueError) as error:
        # the last three: a trainer or task that cannot be made of the options
        raise own_error(error) or UsageError(usage_sentence(str(error), verb)) from error
    try:
        getattr(command, f"run_{verb}")()
    except MisconfigurationException as error:
        raise UsageError(usage_sentence(str(error), verb)) from error
    except RuntimeError as error:
        raise lost_process(error) or error from error
    except SystemExit as leaving:
        if command.trainer.interrupted:  # Lightning ends the process after Ctrl-C
            command.tell_where_to_go_on()
            raise KeyboardInterrupt from leaving
        raise
    finally:
        command.close_loggers()
    research_use()
    return 0


class TaskCLI(LightningCLI):
    """One verb of Lightning's command line.

    ``fit`` makes task and data module from the configuration. The other verbs rebuild the task from ``--ckpt_path``
    alone, whatever the configuration says of a model, so that a network is used as it was trained.

    Args:
        verb: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.
        argv: arguments after the verb.
    """

    def __init__(self, verb: str, argv: Sequence[str]) -> None:
        """Parse and instantiate; runs nothing."""
        self.verb, self.argv = verb, with_presets(argv)
        super().__init__(
            model_class=BaseTask,
            datamodule_class=BaseDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=RunConfig,
            save_config_kwargs={
                "save_to_log_dir": False,
                "config_filename": "config.yaml" if verb == "fit" else f"config-{verb}.yaml",
            },
            seed_everything_default=0,
            parser_kwargs={"prog": f"covidct {verb}", "exit_on_error": False},
            args=self.argv,
            run=False,
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """As Lightning does, but only ``fit`` needs a model from the configuration."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.add_lightning_class_args(BaseTask, "model", subclass_mode=True, required=self.verb == "fit")
        parser.add_lightning_class_args(BaseDataModule, "data", subclass_mode=True)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the checkpoint and where results go."""
        text = (
            "to go on from, or auto" if self.verb == "fit" else "to apply, or auto for the best one of the newest run"
        )
        text = (
            f"A .ckpt file of covidct {text}: the newest that can be read below --trainer.default_root_dir and where "
            "the logger has its runs (lightning_logs; checkpoints, without one)."
        )
        parser.add_argument("--ckpt_path", type=Path, default=None, help=text)
        if self.verb == "test":
            text = (
                "Folder for report.html, metrics.json and predictions.csv, or metrics.json and scores.csv of a "
                "segmentation or detection; none are written without it."
            )
            parser.add_argument("--out", type=Path | None, default=None, help=text)
        if self.verb == "predict":
            parser.add_argument("--out", type=Path, default=Path("predictions.csv"), help="CSV file to write.")

    def before_instantiate_classes(self) -> None:
        """Refuse a missing or damaged checkpoint before anything is built."""
        checkpoint = self._find_checkpoint()
        if self.verb == "fit":
            if checkpoint is not None:
                load_checkpoint(checkpoint)
            return
        if checkpoint is None:
            raise UsageError(f"'covidct {self.verb}' applies a trained network: name its checkpoint with --ckpt_path.")
        self.task = load_task(checkpoint)
        self.config["model"] = None
        self._take_preprocessing()

    def _find_checkpoint(self) -> Path | None:
        """The checkpoint that is named; ``auto`` is looked for, and put in its place."""
        given = self.config.get("ckpt_path")
        if given != Path("auto"):
            return None if given is None else Path(given)
        folders = checkpoint_places(self.config.trainer, goes_on=self.verb == "fit")
        self.config["ckpt_path"] = found = find_checkpoint(*folders, best=self.verb != "fit")
        named = " or ".join(map(str, folders))
        if found is None and self.verb != "fit":
            raise UsageError(f"There is no checkpoint in {named}: name one with --ckpt_path, or train first.")
        results().print(
            f"checkpoint: {found}" if found else f"no checkpoint in {named} yet: a fresh training begins",
            markup=False,
            soft_wrap=True,
        )
        return found

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # noqa: ANN401  (Lightning's signature)
        """As Lightning does; a training that says nothing of checkpoints keeps its last and its best."""
        trainer = self.config_init["trainer"]
        given = trainer.get("callbacks") or []
        callbacks = given if isinstance(given, list) else [given]
        own = any(isinstance(callback, Checkpoint) for callback in callbacks)
        if self.verb == "fit" and trainer.get("enable_checkpointing") is not False and not own:
            trainer["callbacks"] = [*callbacks, Checkpoints()]
        return super().instantiate_trainer(**kwargs)

    def _take_preprocessing(self) -> None:
        """Fill in what the user left open of the data module's pre-processing from the checkpoint.

        What is given all the same stays, and is refused by the task where it differs.
        """
        record, data = self.task.preprocessing, self.config.get("data")
        if record is None or data is None:
            return
        given = self.parser.parse_args(self.argv, defaults=False).get("data.init_args") or {}
        for name in (field.name for field in fields(record)):
            if name in data.init_args and name not in given:
                data.init_args[name] = getattr(record, name)
        unseen = isinstance(self.task, SegmentationTask) and record.masking == "original"
        if self.verb == "predict" and unseen and "mask_source" not in given:
            data.init_args["mask_source"] = "none"  # masks are what it makes, not what it takes

    def after_instantiate_classes(self) -> None:
        """Refuse, before anything is written, data that is prepared otherwise than the network was trained."""
        if self.verb != "fit" and self.datamodule is not None:
            self.task.require_preprocessing(self.datamodule.preprocessing)

    def close_loggers(self) -> None:
        """End what wandb would else leave to the end of the process."""
        for logger in self.trainer.loggers:
            if isinstance(logger, PrivateWandbLogger):
                logger.close()

    def run_fit(self) -> None:
        """Train."""
        checkpoint = self.config.get("ckpt_path")
        for kept in self.trainer.checkpoint_callbacks if checkpoint is None else ():
            if isinstance(kept, Checkpoints):
                kept.require_unused(self.trainer)  # before anything is written
        self.trainer.fit(self.model, datamodule=self.datamodule, ckpt_path=checkpoint)
        written = self.trainer.checkpoint_callback
        best = getattr(written, "best_model_path", "") or getattr(written, "last_model_path", "")
        if best:
            results().print(f"checkpoint: {best}", markup=False, soft_wrap=True)

    def tell_where_to_go_on(self) -> None:
        """After an interruption: the last state, if there is one."""
        last = getattr(self.trainer.checkpoint_callback, "last_model_path", "")
        if last:
            note(f"covidct: the last state is {last}: --ckpt_path=auto goes on from it.")

    def run_validate(self) -> None:
        """Metrics of the validation part."""
        self.trainer.validate(self.task, datamodule=self.datamodule)

    def run_test(self) -> None:
        """Metrics of the test part; with ``--out`` the report too."""
        if self.config.get("out") is not None and self.trainer.world_size > 1:
            raise UsageError(
                "'covidct test --out' writes the report of one process: use --trainer.devices=1, or leave --out out "
                "and add the callbacks MetricsReport and PredictionWriter, which write those of several."
            )
        (scores, *_) = self.trainer.test(self.task, datamodule=self.datamodule) or [{}]
        out = self.config.get("out")
        if out is None:
            return
        loader = self.datamodule.test_dataloader()
        if isinstance(self.task, SegmentationTask):
            from covidct.cli.segmentations import ScanRows, write_segmentations

            rows = predict_rows(self.trainer, self.task, loader, ScanRows(scored=True))
            write_segmentations(rows, out, run=self._run_record())
            written = f"scores: {out / 'scores.csv'}"
        elif isinstance(self.task, DetectionTask):
            from covidct.cli.detections import SliceRows, write_detections

            rows = predict_rows(self.trainer, self.task, loader, SliceRows(scored=True))
            write_detections(rows, scores, out, run=self._run_record())
            written = f"scores: {out / 'scores.csv'}"
        else:
            from covidct.cli.evaluation import evaluate, write_evaluation

            report, cohort = evaluate(self.task, loader, run=self._run_record())
            write_evaluation(report, cohort, out, rates=isinstance(self.task, CovidCTMaskNetTask))
            written = f"report: {out / 'report.html'}"
        results().print(written, markup=False, soft_wrap=True)

    def run_predict(self) -> None:
        """One table of the data module's prediction part: probabilities, volumes of the lungs, or detections."""
        if self.trainer.world_size > 1:
            raise UsageError(
                "'covidct predict' writes the table of one process: use --trainer.devices=1, or the callback "
                "PredictionWriter in a program of your own, which writes that of several."
            )
        if isinstance(self.task, SegmentationTask | DetectionTask):
            self._predict_masks(self.task)
            return
        from covidct.report import write_predictions_csv
        from covidct.result import CohortResult

        outputs = self.trainer.predict(self.task, datamodule=self.datamodule) or []
        names = self.task.class_names
        scans = [scan for output in outputs for scan in _scan_results(output, names)]  # type: ignore[arg-type]
        write_predictions_csv(CohortResult(tuple(scans)), self.config["out"], class_names=names)
        results().print(f"{len(scans)} predictions: {self.config['out']}", markup=False, soft_wrap=True)

    def _predict_masks(self, task: SegmentationTask | DetectionTask) -> None:
        """Volumes of the lungs, or detections by slice; the masks themselves are `covidct segment`'s to write."""
        from covidct.cli.detections import SliceRows
        from covidct.cli.segmentations import ScanRows
        from covidct.report import write_segmentation_csv

        self.datamodule.prepare_data()
        self.datamodule.setup("predict")
        loader = self.datamodule.predict_dataloader()
        collect = SliceRows(scored=False) if isinstance(task, DetectionTask) else ScanRows(scored=False)
        rows = predict_rows(self.trainer, task, loader, collect)
        write_segmentation_csv(rows, self.config["out"])
        results().print(f"{len(rows)} predictions: {self.config['out']}", markup=False, soft_wrap=True)

    def _run_record(self) -> dict[str, Any]:
        """What made a report."""
        import covidct
        from covidct.weights import sha256_file

        preprocessing = self.task.preprocessing
        return {
            "covidct": covidct.__version__,
            "task": type(self.task).__name__,
            "checkpoint_sha256": sha256_file(self.config["ckpt_path"]),
            "preprocessing": None if preprocessing is None else preprocessing.to_dict(),
        }


def own_error(error: BaseException | None) -> CovidctError | None:
    """The sentence of covidct that a parser has wrapped in its own, if there is one."""
    while error is not None:
        if isinstance(error, CovidctError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _scan_results(output: dict[str, Any], names: Sequence[str]) -> list[Any]:
    """Rows of one batch of predictions."""
    from covidct.result import ScanResult

    labels = output["label"].tolist() if "label" in output else [-1] * len(output["id"])
    rows = zip(output["id"], output["prob"].tolist(), output["pred"].tolist(), labels, strict=True)
    return [
        ScanResult(
            id=name,
            status="done",
            probabilities=dict(zip(names, prob, strict=True)),
            predicted=names[pred],
            label=names[label] if label >= 0 else "",
        )
        for name, prob, pred, label in rows
    ]


def import_parts() -> None:
    """Load all tasks, data modules and data sets, so that their short names are known to the parser."""
    from covidct import callbacks, datamodules, datasets, tasks

    for package in (callbacks, datamodules, datasets, tasks):
        for name in package.__all__:
            getattr(package, name)
