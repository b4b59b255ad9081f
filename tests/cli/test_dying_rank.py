"""A process of a training is killed: the others say so and end, and the last checkpoint is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import covidct
from covidct.callbacks import find_checkpoint
from covidct.weights import load_checkpoint

ROOT = Path(covidct.__file__).parents[1]
DATA = "--data.init_args.dataset.init_args.volumes.init_args"


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_others_end_with_a_sentence(tmp_path: Path, rank: int) -> None:
    command = [
        *(sys.executable, "-W", "ignore", "-m", "covidct", "fit", "-c", "examples/configs/unet2d_phantom.yaml"),
        *("--trainer=cpu", "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=4"),
        *(f"--trainer.default_root_dir={tmp_path}", "--trainer.logger=false", "--trainer.enable_progress_bar=false"),
        *("--trainer.callbacks=covidct.callbacks.Checkpoints", "--trainer.callbacks.save_every=1"),
        *("--trainer.callbacks+=tests.fakes.dying_rank.DyingRank", f"--trainer.callbacks.rank={rank}"),
        *("--model.init_args.channels=[4,8]", "--data.init_args.size=32", "--data.init_args.batch_size=1"),
        *(f"{DATA}.num_scans=6", f"{DATA}.detail=0.15", "--data.init_args.dataset.init_args.slices_per_scan=3"),
        *("--data.init_args.val_fraction=0.2", "--data.init_args.test_fraction=0.2"),
        f"--data.init_args.cache_dir={tmp_path / 'cache'}",
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode not in (0, None)
    said = " ".join(done.stderr.split())
    assert "Another process of this training has ended" in said, done.stderr[-2000:]
    assert "--ckpt_path=auto" in said
    assert "Traceback" not in done.stderr
    last = find_checkpoint(tmp_path)
    assert last is not None
    assert load_checkpoint(last)["global_step"] in (2, 3)
