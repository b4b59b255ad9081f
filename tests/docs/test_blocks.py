"""The reader of code blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.docs.blocks import PAGES, Block, blocks_of, commands, files

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """# Page

```python
a = 1
```

* In a list:

  ```bash
  covidct fit -c a.yaml \\
      --out=b  # why
  # a comment
  covidct list
  ```

```{code-cell} ipython3
:tags: [hide-input]
%matplotlib inline
b = 2
!covidct doctor \\
    --json
```

```{code-cell} ipython3
%%writefile run.yaml
a: 1
```

````
```python
no block of its own
```
````

```console
$ covidct list
models
```
"""


def test_blocks_are_found_with_their_lines() -> None:
    found = list(blocks_of(TEXT, "page.md"))
    assert [(block.place, block.language) for block in found] == [
        ("page.md:3", "python"),
        ("page.md:9", "bash"),
        ("page.md:16", "python"),
        ("page.md:16", "bash"),
        ("page.md:24", "yaml"),
        ("page.md:29", ""),
        ("page.md:35", "console"),
    ]
    assert (found[0].code, found[2].code, found[4].code) == ("a = 1\n", "b = 2\n", "a: 1\n")
    assert [list(commands(found[place])) for place in (1, 3, 6)] == [
        ["covidct fit -c a.yaml      --out=b", "covidct list"],
        ["covidct doctor      --json"],
        ["covidct list"],
    ]


def test_files_that_a_page_prints_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    named = "`a.yaml`, laid over another:\n\n```yaml\nx: 1\n```\n\n`b.py`\n\n```python\ny = 1\n```\n"
    page.write_text(f"{named}\n```{{code-cell}}\n:tags: [hide-input]\n%%writefile c.yaml\nz: 1\n```\n")
    assert files(page) == {"a.yaml": "x: 1\n", "c.yaml": "z: 1\n"}


def test_comments_end_commands_where_a_blank_stands_before_them() -> None:
    assert list(commands(Block("", "bash", "covidct a#b  # c\n"))) == ["covidct a#b"]


def test_there_are_pages_with_code() -> None:
    assert {"README.md", "index.md", "studies.md"} <= {page.name for page in PAGES}
