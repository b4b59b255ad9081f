"""``anonymous``: nothing of a sentence leads to the input."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from covidct.io.anonymous import anonymous

if TYPE_CHECKING:
    from pathlib import Path


def test_sentences_lose_what_leads_to_the_input(tmp_path: Path) -> None:
    folder = tmp_path / "Eva_Meier"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "IM-0001.dcm").write_bytes(b"")
    sentence = f"{folder}/deep/IM-0001.dcm of Eva_Meier, series 1.2.840.113619.2.55, has 0.75 mm and covidct 0.1.0."
    clean = anonymous(sentence, folder)
    for secret in ("Eva", "Meier", "IM-0001", "113619", str(tmp_path)):
        assert secret not in clean
    assert "0.75 mm and covidct 0.1.0" in clean


def test_names_in_a_zip_are_lost_too(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Eva/Meier_7.dcm", b"")
    assert "Meier" not in anonymous("The file Meier_7.dcm in Eva is damaged.", path)
    path.write_bytes(b"no zip")
    assert anonymous("The zip x.zip is damaged.", path) == "The zip (input) is damaged."
