"""Does it help to average features over the lungs alone? GAP against mask-weighted GAP, with a confounder.

Phantoms with a bright marker beside the body. In one training the marker says nothing, in the other it tells the class;
in the test it says nothing. What a pooling loses between the two trainings is what it leaned on the marker. Finished
runs stay in the folder: start it again, and only what is new is computed.

Shown for fixed features: a network with random weights and a linear head. A network that is trained end to end can
carry the marker to the lungs, because its receptive field is wider than the slice; pooling cannot guard against that.

    python examples/10_masked_gap_study.py --out masked_gap_study
    python examples/10_masked_gap_study.py --fast  # a trial of seconds

The same as a command, and the paper's comparison on your own cohort (columns path, label, subject):

    covidct study masked-gap --phantoms --out masked_gap_study
    covidct study masked-gap --manifest cohort.csv --out my-study --weights IMAGENET1K_V1
"""

from __future__ import annotations

import argparse
from pathlib import Path

from covidct.studies import confounder_study, write_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("masked_gap_study"), help="folder of the study")
    parser.add_argument("--fast", action="store_true", help="a trial: one seed, few scans, small slices")
    options = parser.parse_args()

    study = confounder_study(
        {"num_subjects": 12} if options.fast else None,
        out=options.out,
        seeds=(0,) if options.fast else (0, 1, 2),
        slice_size=64 if options.fast else 224,
        on_run=lambda run: print(f"{run} done", flush=True),
    )
    for section in study.sections:
        print(section.title)
        for pooling, reports in section.comparison.seed_reports.items():
            mean = section.comparison.reports[pooling].scores["auroc"]["covid"].value
            seeds = " ".join(f"{report.scores['auroc']['covid'].value:.3f}" for report in reports.values())
            print(f"  {study.titles[pooling]:<20}AUROC {mean:.3f} (seeds {seeds})")
        test = section.comparison.tests[0].mcnemar
        print(f"  McNemar: only GAP right {test.only_a}, only mask-weighted {test.only_b}, p = {test.p_value:.3g}")
    print("The paper's matrices")
    for pooling, report in study.published.items():
        print(f"  {study.titles[pooling]:<20}accuracy {report.scores['accuracy']['overall'].value:.4f}")
    print(*write_study(study, options.out), sep="\n")


if __name__ == "__main__":
    main()
