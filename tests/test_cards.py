"""Cards: every architecture and data set has a whole one, and its numbers are those of the code and of the papers."""

from __future__ import annotations

import inspect
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from torch import nn

from covidct import cards, datasets, models, tasks
from covidct.cards import DatasetCard, ModelCard, dataset_cards, model_cards
from covidct.cli.list import config_folder
from covidct.datasets import COVIDCT, BaseDataset
from covidct.errors import CovidctError

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = Path(cards.__file__).parent
DOCS = PACKAGE.parent / "docs" / "reference"
MODELS, DATASETS = model_cards(), dataset_cards()

MAY_BE_EMPTY = {"published", "parameters", "counts", "task", "part", "arguments"}

# Of the reference facts of the five systems, section 0.2, and of the data sets' publications.
COUNTS: Mapping[str, Mapping[str, int]] = {
    "covid_ct": {"slices with COVID-19": 349, "slices without": 397},
    "covid_ct_md": {"COVID-19 subjects": 171, "CAP subjects": 60, "normal subjects": 76, "all subjects": 307},
    "covidx_ct": {"CT-1 train, all": 61_782, "CT-1 val, all": 21_036, "CT-1 test, all": 21_191},
    "covid_qu_ex": {"all images": 33_920},
    "covidx_cxr": {"train, all": 29_986, "all images": 30_386},
    "cncb_lesions": {"train, slices": 650, "test, slices": 100},
    "covid19_ct_seg": {"scans": 20, "subjects": 18},
    "luna16": {"scans": 888},
    "dark_covid": {"all images": 1125},
    "tianchi_lung": {"negative volumes of the ResNeXt+ paper": 282, "their slices": 19_353},
}
# Whole to its parts, which must add up to it.
SUMS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "covid_ct": (
        ("slices with COVID-19", "train, with", "val, with", "test, with"),
        ("slices without", "train, without", "val, without", "test, without"),
    ),
    "covid_ct_md": (("all subjects", "COVID-19 subjects", "CAP subjects", "normal subjects"),),
    "covidx_ct": tuple(
        tuple(f"CT-1 {part}, {kind}" for kind in ("all", "normal", "pneumonia", "COVID-19"))
        for part in ("train", "val", "test")
    ),
    "covid_qu_ex": (("all images", "COVID-19", "other pneumonia", "normal"),),
    "covidx_cxr": (
        ("train, all", "train, negative", "train, positive"),
        ("all images", "train, all", "test, negative", "test, positive"),
    ),
    "covid19_ct_seg": (("scans", "coronacases scans", "radiopaedia scans"),),
    "dark_covid": (("all images", "COVID-19", "no finding", "pneumonia"),),
}


def numbers(card: DatasetCard) -> dict[str, int]:
    return {count.what: count.number for count in card.counts}


@cache
def network(stem: str, arguments: str) -> nn.Module:
    made: nn.Module = getattr(models, MODELS[stem].network)(**yaml.safe_load(arguments))
    return made


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def gaps(card: ModelCard | DatasetCard) -> list[str]:
    """Fields that say nothing."""
    return [name for name in type(card).__dataclass_fields__ if name not in MAY_BE_EMPTY and not getattr(card, name)]


def test_every_architecture_has_a_card() -> None:
    trained = {path.stem for path in (PACKAGE / "tasks").glob("*.py")} & {
        path.stem for path in (PACKAGE / "models").glob("*.py")
    }
    assert trained - {"__init__"} <= MODELS.keys()
    for stem, card in MODELS.items():
        assert (PACKAGE / "models" / f"{stem}.py").is_file()
        assert inspect.getmodule(getattr(models, card.network)).__name__ == f"covidct.models.{stem}"  # type: ignore[union-attr]
        assert card.task == "" or inspect.getmodule(getattr(tasks, card.task)).__name__ == f"covidct.tasks.{stem}"  # type: ignore[union-attr]


def test_every_class_belongs_to_one_card() -> None:
    classes = [name for name in models.__all__ if inspect.isclass(getattr(models, name))]
    assert sorted(name for card in MODELS.values() for name in card.classes) == sorted(classes)
    made = {name: getattr(datasets, name) for name in datasets.__all__}
    sets = [name for name, kind in made.items() if inspect.isclass(kind) and issubclass(kind, BaseDataset)]
    sets.remove("BaseDataset")
    assert sorted(name for card in DATASETS.values() for name in card.classes) == sorted(sets)
    for stem, card in DATASETS.items():
        assert {inspect.getmodule(getattr(datasets, name)).__name__ for name in card.classes} == {  # type: ignore[union-attr]
            f"covidct.datasets.{stem}"
        }


@pytest.mark.parametrize("card", [*MODELS.values(), *DATASETS.values()], ids=lambda card: card.stem)
def test_a_card_leaves_nothing_out(card: ModelCard | DatasetCard) -> None:
    assert gaps(card) == []
    assert list(card.classes) == sorted(card.classes)


@pytest.mark.parametrize("card", MODELS.values(), ids=lambda card: card.stem)
def test_configurations_and_pages_are_there(card: ModelCard) -> None:
    assert all((config_folder() / name).is_file() for name in card.configs)
    assert (
        f"covidct.tasks.{card.task}" in (config_folder() / card.configs[0]).read_text(encoding="utf-8") or not card.task
    )
    for place, text in card.measured.items():
        page, heading = place.split("#")
        lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
        slugs = {
            "-".join("".join(c for c in line.lstrip("# ").lower() if c.isalnum() or c in " -").split())
            for line in lines
            if line.startswith("#")
        }
        assert heading in slugs
        assert text


@pytest.mark.parametrize(
    ("stem", "place"), [(stem, place) for stem, card in MODELS.items() for place in range(len(card.parameters))]
)
def test_published_numbers_of_parameters_are_the_networks(stem: str, place: int) -> None:
    one = MODELS[stem].parameters[place]
    made = network(stem, yaml.safe_dump(dict(one.arguments)))
    found = size(made.get_submodule(one.part)) + one.left_out
    assert (round(found / 1e6, 2) if one.millions else found) == one.count


@pytest.mark.parametrize("stem", COUNTS)
def test_numbers_of_a_data_set_are_the_published_ones(stem: str) -> None:
    assert numbers(DATASETS[stem]).items() >= COUNTS[stem].items()


@pytest.mark.parametrize("stem", SUMS)
def test_parts_of_a_data_set_add_up(stem: str) -> None:
    found = numbers(DATASETS[stem])
    for whole, *parts in SUMS[stem]:
        assert found[whole] == sum(found[part] for part in parts)


def test_numbers_in_docstrings_are_those_of_the_cards() -> None:
    told = {
        COVIDCT: ("covid_ct", ["train, with", "train, without", "val, with", "val, without", "test, with"]),
        datasets.COVIDQUEx: ("covid_qu_ex", ["all images", "COVID-19", "other pneumonia", "normal"]),
        datasets.COVIDxCXR3: ("covidx_cxr", ["all images", "train, negative", "train, positive"]),
        datasets.COVIDCTMDVolumes: ("covid_ct_md", ["COVID-19 subjects", "CAP subjects", "normal subjects"]),
        datasets.COVID19CTSeg: ("covid19_ct_seg", ["scans", "subjects"]),
        datasets.DarkCovid: ("dark_covid", ["COVID-19", "no finding"]),
        datasets.TianchiLung: ("tianchi_lung", ["negative volumes of the ResNeXt+ paper", "their slices"]),
    }
    for kind, (stem, names) in told.items():
        text = inspect.getdoc(kind) or ""
        for name in names:
            assert f"{numbers(DATASETS[stem])[name]:,}" in text, f"{kind.__name__}: {name}"


@pytest.mark.real
def test_numbers_of_real_images_are_those_of_the_card(real_data: Path) -> None:
    found = Counter((record.split, record.label) for record in COVIDCT(real_data / "covid_ct").records)
    expected = numbers(DATASETS["covid_ct"])
    for split in ("train", "val"):
        assert (found[split, 1], found[split, 0]) == (expected[f"{split}, with"], expected[f"{split}, without"])


@pytest.mark.parametrize("fault", ["title = 3 =", 'title = "one"\ncolour = "red"', ""])
def test_a_damaged_card_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "broken.toml").write_text(fault)
    monkeypatch.setattr(cards, "_PACKAGE", tmp_path)
    cards._tables.cache_clear()
    try:
        with pytest.raises(CovidctError, match=r"broken\.toml.*(Expected|publication|Invalid)"):
            dataset_cards()
    finally:
        cards._tables.cache_clear()


def test_texts_are_lines_and_layouts_keep_theirs() -> None:
    every: list[ModelCard | DatasetCard] = [*MODELS.values(), *DATASETS.values()]
    for card in every:
        texts: list[Any] = [getattr(card, name) for name in type(card).__dataclass_fields__ if name != "layout"]
        assert not any("\n" in text for text in texts if isinstance(text, str))
    assert "\n" in DATASETS["covid_ct"].layout
