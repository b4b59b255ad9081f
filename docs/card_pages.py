"""Reference pages of architectures and data sets, made of their cards, the networks and the configurations.

A page holds ``<!-- card -->`` where the text of its card goes, an index ``<!-- cards -->`` where its table goes. Texts
are put in before the page is parsed, so that nothing generated is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE, models
from covidct.cards import dataset_cards, model_cards
from covidct.cli.list import config_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sphinx.application import Sphinx

    from covidct.cards import DatasetCard, Input, ModelCard

CARD, CARDS = "<!-- card -->", "<!-- cards -->"
FOLDERS = ("models", "datasets")

_NO_COUNTS = {
    "published": "None that could be traced to its source.",
    "simulated": "As many as are asked for.",
    "own": "As many as you have.",
}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _on_source_read)
    return {"parallel_read_safe": True}


def _on_source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the generated text into a page, and note what it is made of."""
    folder, _, stem = docname.removeprefix("reference/").partition("/")
    if folder not in FOLDERS:
        return
    cards: Mapping[str, Any] = model_cards() if folder == "models" else dataset_cards()
    if CARD in source[0]:
        page = model_page(cards[stem]) if folder == "models" else dataset_page(cards[stem])
        source[0] = source[0].replace(CARD, page)
    if CARDS in source[0]:
        table = models_table(cards) if folder == "models" else datasets_table(cards)
        source[0] = source[0].replace(CARDS, table)
    package = Path(models.__file__).parents[1] / folder
    for path in [*package.glob("*.toml"), *([package / f"{stem}.py"] if stem in cards else [])]:
        app.env.note_dependency(str(path))


def model_page(card: ModelCard) -> str:
    """The page of an architecture below its heading, in Markdown."""
    made = {str(one.arguments): _network(card, one.arguments) for one in (*card.variants, *card.parameters)}
    return "\n".join(
        [
            f"{card.paper}.\n",
            f"Decides: {card.kind}. {_classes(card)}. {RESEARCH_USE}\n",
            "## What it is for\n",
            f"{card.intended_use}\n",
            "## Limits\n",
            *_bullets(card.limits),
            "## Shapes\n",
            *_shapes(card, made[str(card.variants[0].arguments)]),
            "## Parameters\n",
            *_parameters(card, made),
            "## Trained on, as published\n",
            f"{card.training_data}\n",
            "## Recipe\n",
            f"{card.recipe}\n",
            *(line for name in card.configs for line in _config(name)),
            "## Where it leaves the publication\n",
            *_bullets(card.deviations),
            "## Published figures\n",
            *_published(card),
            "## Measured here\n",
            *_bullets(f"[{text}](../{place})" for place, text in card.measured.items()),
            "## Licence and weights\n",
            *_bullets([card.licence, f"Weights: {card.weights[:1].lower()}{card.weights[1:]}"]),
        ]
    )


def dataset_page(card: DatasetCard) -> str:
    """The page of a data set below its heading, in Markdown."""
    classes = ", ".join(f"{{py:class}}`covidct.datasets.{name}`" for name in card.classes)
    counts = [(one.what, f"{one.number:,}", one.source) for one in card.counts]
    return "\n".join(
        [
            f"Read by {classes}. {card.modality[:1].upper()}{card.modality[1:]}.\n",
            f"{card.publication}.\n",
            "## What it serves\n",
            f"{card.use}\n",
            "## Layout\n",
            f"```text\n{card.layout}\n```\n",
            "## Labels, annotations, split\n",
            *_bullets([f"Labels: {card.labels}", f"Annotations: {card.annotations}", f"Split: {card.split}"]),
            "## Counts\n",
            *(_table(("what", "number", "source"), counts) if counts else [f"{_NO_COUNTS[card.kind]}\n"]),
            "## Known faults\n",
            *_bullets(card.faults),
            "## Licence\n",
            f"{card.licence}\n",
        ]
    )


def models_table(cards: Mapping[str, ModelCard]) -> str:
    """All architectures with what they decide, and their pages in the menu."""
    rows = [(f"[{card.title}]({stem}.md)", card.kind, f"`{card.network}`") for stem, card in cards.items()]
    return "\n".join([*_table(("architecture", "decides", "network"), rows), *_toctree(cards)])


def datasets_table(cards: Mapping[str, DatasetCard]) -> str:
    """All data sets with modality and classes, published ones first, and their pages in the menu."""
    stems = [stem for kind in _NO_COUNTS for stem, card in cards.items() if card.kind == kind]
    rows = [
        (f"[{card.title}]({card.stem}.md)", card.modality, ", ".join(f"`{name}`" for name in card.classes))
        for card in map(cards.__getitem__, stems)
    ]
    return "\n".join([*_table(("data set", "modality", "classes"), rows), *_toctree(stems)])


def _toctree(stems: Iterable[str]) -> list[str]:
    return ["```{toctree}", ":hidden:", "", *stems, "```", ""]


def _network(card: ModelCard, arguments: Mapping[str, Any]) -> Any:
    """A network of a card, with random weights that are always the same."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(models, card.network)(**arguments).eval()


def _classes(card: ModelCard) -> str:
    network = f"Network {{py:class}}`covidct.models.{card.network}`"
    return f"{network}, task {{py:class}}`covidct.tasks.{card.task}`" if card.task else f"{network}, without a task"


def _shapes(card: ModelCard, network: Any) -> Iterator[str]:
    """Tables of what goes in and what the network gives for it."""
    import torch

    rows = [(f"`{one.name}`", one.axes, one.values, str(one.shape)) for one in card.inputs]
    yield from _table(("takes", "axes", "values", "example"), rows)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        results = network(*(_example(one) for one in card.inputs))
    rows = list(_results("result", results))
    yield f"Of the example, with random weights ({card.variants[0].label}):\n"
    yield from _table(("gives", "shape"), rows)


def _example(one: Input) -> Any:
    """A tensor of the shape that the card gives."""
    import torch

    if one.name == "lung_mask":
        return torch.ones(one.shape, dtype=torch.uint8)
    return torch.rand(one.shape)


def _results(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Name and shape of every tensor in what a network gives."""
    import torch

    if isinstance(value, torch.Tensor):
        yield f"`{name}`", f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _results(key if name == "result" else f"{name}.{key}", inner)
    elif isinstance(value, (list, tuple)) and value:
        for place, inner in enumerate(value):
            yield from _results(f"{name}[{place}]", inner)


def _parameters(card: ModelCard, made: Mapping[str, Any]) -> Iterator[str]:
    """Tables of counted parameters, and of published numbers beside them."""
    rows = [(one.label, f"{_size(made[str(one.arguments)]):,}") for one in card.variants]
    yield from _table(("network", "parameters"), rows)
    rows = [
        (
            one.label,
            f"{one.count:.2f} million" if one.millions else f"{one.count:,}",
            f"{_size(made[str(one.arguments)].get_submodule(one.part)) + one.left_out:,}",
            one.source,
        )
        for one in card.parameters
    ]
    if rows:
        yield from _table(("of", "published or recomputed", "counted", "source"), rows)


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _config(name: str) -> list[str]:
    """A configuration in full, whose comments say who sets each value."""
    text = (config_folder() / name).read_text(encoding="utf-8")
    return [f"`examples/configs/{name}`:\n", f"```yaml\n{text}```\n"]


def _published(card: ModelCard) -> Iterable[str]:
    if not card.published:
        return ["None that could be traced to its source.\n"]
    return _table(
        ("of", "as printed", "on", "source"),
        [(one.quantity, one.value, one.data, one.source) for one in card.published],
    )


def _bullets(texts: Iterable[str]) -> list[str]:
    return [*(f"* {text}" for text in texts), ""]


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    return [*(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines), ""]
