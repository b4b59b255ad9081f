"""Reference pages made of cards: one for each, with numbers counted on the networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from covidct.cards import dataset_cards, model_cards
from tests.docs.modules import docs_module

DOCS = Path(__file__).parents[1] / "docs"
PAGES = docs_module("card_pages")
CARDS: dict[str, Any] = {"models": model_cards(), "datasets": dataset_cards()}


@pytest.mark.parametrize("folder", CARDS)
def test_every_card_has_a_page(folder: str) -> None:
    found = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "reference" / folder).glob("*.md")}
    index = found.pop("index")
    assert PAGES.CARDS in index
    assert found == {
        stem: f"# {card.title}\n\n{docs_module('card_pages').CARD}\n" for stem, card in CARDS[folder].items()
    }


def test_tables_name_every_card() -> None:
    for folder, table in (
        ("models", PAGES.models_table),
        ("datasets", PAGES.datasets_table),
    ):
        text = table(CARDS[folder])
        assert all(f"]({stem}.md)" in text for stem in CARDS[folder])


def test_a_page_of_an_architecture_is_counted() -> None:
    page = PAGES.model_page(CARDS["models"]["dark_covidnet"])
    for part in (
        "| two classes | 1,164,434 |",
        "| three classes | 1,167,586 | 1,167,586 | recomputed from the notebook |",
        "| `result` | (1, 2) float32 |",
        "class_path: covidct.tasks.DarkCovidNetTask",
        "98.08 %",
        "(../chest_xray.md#classifiers)",
        "Research use, not a diagnosis.",
    ):
        assert part in page


def test_an_architecture_without_a_task_says_so() -> None:
    page = PAGES.model_page(CARDS["models"]["csrnet"])
    assert "without a task" in page
    assert "| without its density layer | 16,263,424 |" in page
    assert "None that could be traced to its source." in page


@pytest.mark.parametrize("stem", CARDS["datasets"])
def test_a_page_of_a_data_set_has_its_counts_and_licence(stem: str) -> None:
    card = CARDS["datasets"][stem]
    page = PAGES.dataset_page(card)
    assert card.licence in page
    assert all(f"| {one.what} | {one.number:,} |" in page for one in card.counts)
    assert all(f"* {fault}" in page for fault in card.faults)


def test_results_of_any_form_have_names() -> None:
    import torch

    made = {"logits": torch.zeros(1, 2), "members": {"low": [torch.zeros(3, dtype=torch.bool)]}, "none": None}
    assert list(PAGES._results("result", made)) == [
        ("`logits`", "(1, 2) float32"),
        ("`members.low[0]`", "(3,) bool"),
    ]
