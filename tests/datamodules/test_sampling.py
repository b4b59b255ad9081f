from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from covidct.datamodules.sampling import Draw, EpochSampler, EvaluationSampler, ResumableLoader


def draws(sampler: EpochSampler) -> list[Draw]:
    return list(sampler)


def test_every_sample_once_in_another_order_each_epoch() -> None:
    sampler = EpochSampler([0] * 20)
    first = [draw.index for draw in draws(sampler)]
    sampler.set_epoch(1)
    second = [draw.index for draw in draws(sampler)]
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert [draw.epoch for draw in draws(sampler)] == [1] * 20


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    world=st.integers(1, 4),
    balanced=st.booleans(),
    epoch=st.integers(0, 5),
)
def test_processes_share_one_order(labels: list[int], world: int, balanced: bool, epoch: int) -> None:
    ranks = [EpochSampler(labels, balanced=balanced, num_replicas=world, rank=rank) for rank in range(world)]
    for sampler in ranks:
        sampler.set_epoch(epoch)
    dealt = [draws(sampler) for sampler in ranks]
    assert len({len(part) for part in dealt}) == 1  # unequal numbers of batches hang
    joint = [draw for step in zip(*dealt, strict=True) for draw in step]
    common = ranks[0].draws()
    assert joint[: len(common)] == common
    assert len(common) == len(labels)
    assert len(set(common)) == len(common)  # (index, epoch, repeat) is unique: no two draws share their augmentation


@pytest.mark.parametrize("world", [1, 2, 3])
def test_realised_mix_is_balanced_over_all_processes(world: int) -> None:
    labels = [0] * 90 + [1] * 9 + [2] * 21
    mix: Counter[int] = Counter()
    uses: Counter[int] = Counter()
    for rank in range(world):
        sampler = EpochSampler(labels, balanced=True, num_replicas=world, rank=rank)
        mix.update(labels[draw.index] for draw in draws(sampler))
        uses.update(draw.index for draw in draws(sampler))
    assert mix == {0: 40, 1: 40, 2: 40}
    for label in range(3):
        used = [uses[index] for index, other in enumerate(labels) if other == label]
        assert max(used) - min(used) <= 1


def test_resume_goes_on_where_it_stopped() -> None:
    sampler = EpochSampler([0] * 10)
    sampler.set_epoch(3)
    whole = draws(sampler)
    sampler.resume(3, 4)
    assert draws(sampler) == whole[4:]
    assert draws(sampler) == whole  # the next iteration is a whole one


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_counts_what_it_gave(workers: int) -> None:
    def loader() -> ResumableLoader:
        return ResumableLoader(Numbers(), batch_size=3, sampler=IndexSampler([0] * 10), num_workers=workers)

    whole = [batch.tolist() for batch in loader()]
    first = loader()
    assert first.state_dict() == {"epoch": 0, "batches": 0}
    batches = iter(first)
    given = [next(batches).tolist(), next(batches).tolist()]
    state = first.state_dict()
    assert state == {"epoch": 0, "batches": 2}
    second = loader()
    second.load_state_dict(state)
    assert given + [batch.tolist() for batch in second] == whole
    assert second.state_dict() == {"epoch": 0, "batches": 4}
    assert [batch.tolist() for batch in second] == whole


class Numbers(Dataset[int]):
    """0 to 9."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        return index


class IndexSampler(EpochSampler):
    """Gives plain indices, for a data set that is a list."""

    def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
        return iter([draw.index for draw in super().__iter__()])


def test_nothing_to_deal_out() -> None:
    assert list(EvaluationSampler(0, num_replicas=2, rank=1)) == []


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 7, 21])
def test_evaluation_shows_every_sample_once_and_no_process_none(count: int, world: int) -> None:
    dealt = [list(EvaluationSampler(count, num_replicas=world, rank=rank)) for rank in range(world)]
    assert all(dealt)
    assert {index for part in dealt for index in part} == set(range(count))
    if count >= world:
        assert sum(map(len, dealt)) == count
    assert dealt[0] == list(range(0, count, world))
