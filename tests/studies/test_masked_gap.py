"""The paper's table from its matrices, and variants that differ in the pooling alone."""

from __future__ import annotations

import math

import pytest

from covidct.studies import PUBLISHED_CONFUSION, pooling_variants, published_reports

# Table II as it is printed: accuracy, sensitivity, specificity, F1 in percent
PRINTED = {"mean": (94.6, 95.3, 92.8, 96.1), "mask": (95.5, 96.4, 93.3, 96.8)}


@pytest.mark.parametrize("pooling", ["mean", "mask"])
def test_the_published_table_follows_from_the_published_matrices(pooling: str) -> None:
    report = published_reports(resamples=0)[pooling]
    (tn, fp), (fn, tp) = PUBLISHED_CONFUSION[pooling]
    assert (tn + fp, fn + tp) == (597, 1465)  # of the 2062 scans of section III.B
    figures = ((tn + tp) / 2062, tp / 1465, tn / 597, 2 * tp / (2 * tp + fp + fn))
    found = [report.scores["accuracy"]["overall"].value]
    found += [report.scores[metric]["covid"].value for metric in ("sensitivity", "specificity", "f1")]
    assert found == pytest.approx(figures)
    for value, printed in zip(found, PRINTED[pooling], strict=True):
        cut = math.floor(1000 * value) / 10  # the paper rounds, but for 96.45, which it cuts off
        assert printed in (round(100 * value, 1), cut)


def test_the_variants_differ_in_the_pooling_alone() -> None:
    first, second = pooling_variants({"backbone": "resnet18"})
    assert (first.options["pooling"], second.options["pooling"]) == ("mean", "mask")
    assert {**first.options, "pooling": ""} == {**second.options, "pooling": ""}
