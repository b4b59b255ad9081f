"""Does it help to average features over the lungs alone? GAP against mask-weighted GAP, with a confounder.

Phantoms with a bright marker beside the body. In one training the marker says nothing, in the other it tells the class;
in the test it says nothing. What a network loses between the two trainings is what it leaned on the marker. Finished
runs stay in the folder: start it again, and only what is new is computed.

    python examples/01_masked_gap_study.py --out masked-gap-study

The same as a command, for phantoms or for your own cohort (columns path, label, subject):

    covidct study masked-gap --phantoms --out masked-gap-study
    covidct study masked-gap --manifest cohort.csv --out my-study --weights IMAGENET1K_V1
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from covidct.studies import (
    CONFOUNDER_DATA,
    CONFOUNDER_EPOCHS,
    CONFOUNDER_PHANTOMS,
    CONFOUNDER_TASK,
    confounder_study,
    write_study,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("masked-gap-study"))
    parser.add_argument("--subjects", type=int, default=CONFOUNDER_PHANTOMS["num_subjects"])
    parser.add_argument("--epochs", type=int, default=CONFOUNDER_EPOCHS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--cache", default=None, help="folder of prepared scans")
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    study = confounder_study(
        {**CONFOUNDER_PHANTOMS, "num_subjects": options.subjects},
        {**CONFOUNDER_DATA, "cache_dir": options.cache},
        out=options.out,
        task_options=CONFOUNDER_TASK,
        seeds=options.seeds,
        epochs=options.epochs,
        trainer_options={"accelerator": "cpu"},
        on_run=lambda run: print(f"{run} done", flush=True),
    )
    for section in study.sections:
        print(section.title)
        for pooling, report in section.comparison.reports.items():
            auroc = report.scores["auroc"]["covid"]
            print(f"  {study.titles[pooling]:<20}AUROC {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})")
        test = section.comparison.tests[0].mcnemar
        print(f"  McNemar: only GAP right {test.only_a}, only mask-weighted {test.only_b}, p = {test.p_value:.3g}")
    print("The paper's matrices")
    for pooling, report in study.published.items():
        print(f"  {study.titles[pooling]:<20}accuracy {report.scores['accuracy']['overall'].value:.4f}")
    print(*write_study(study, options.out), sep="\n")


if __name__ == "__main__":
    main()
