"""Folds of subjects: even in all respects, and the same wherever they are dealt out."""

from __future__ import annotations

import pytest
import torch

from covidct.tasks.subject_folds import deal_folds, folds_of


def hashes(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_even_over_all_over_labelled_subjects_and_over_classes(folds: int) -> None:
    subject, label = hashes(41), torch.arange(41) % 3
    known = torch.arange(41) % 4 == 0
    dealt = deal_folds(subject, label, known=known, folds=folds)
    fold = folds_of(subject, dealt, folds=folds)
    kinds = [
        torch.ones(41, dtype=torch.bool),
        known,
        *((known == has) & (label == c) for has in (True, False) for c in range(3)),
    ]
    for kind in kinds:
        counts = fold[kind].bincount(minlength=folds)
        assert counts.max() - counts.min() <= 1


def test_the_order_of_samples_does_not_matter_and_a_subjects_scans_stay_together() -> None:
    subject = hashes(12).repeat_interleave(2)
    label, known = torch.arange(24) % 3, torch.arange(24) % 5 == 0
    dealt = deal_folds(subject, label, known=known, folds=3)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    assert deal_folds(subject[order], label[order], known=known[order], folds=3).equal(dealt)
    assert dealt[0].equal(torch.unique(subject))
    labelled = torch.unique(subject[known])
    assert folds_of(labelled, dealt, folds=3).bincount(minlength=3).tolist() in ([2, 2, 1], [2, 1, 2], [1, 2, 2])


def test_two_labelled_subjects_are_in_two_folds() -> None:
    for seed in range(20):
        subject, known = hashes(9, seed), torch.tensor([True, True] + [False] * 7)
        fold = folds_of(subject, deal_folds(subject, torch.zeros(9).long(), known=known, folds=3), folds=3)
        assert fold[0] != fold[1]


def test_other_subjects_have_their_hash_modulo_the_folds() -> None:
    subject = torch.tensor([-7, 3, 8])
    dealt = deal_folds(subject, torch.zeros(3).long(), known=torch.ones(3).bool(), folds=2)
    assert dealt.tolist() == [[-7, 3, 8], [0, 1, 0]]
    asked = torch.tensor([9, 8, -9, 3, -7, 2**62])
    assert folds_of(asked, dealt, folds=2).tolist() == [1, 0, 1, 1, 0, 0]
    assert folds_of(asked, torch.empty(2, 0).long(), folds=2).tolist() == [1, 0, 1, 1, 1, 0]
