"""Arguments of data sets and transforms as plain values, without free text."""

from __future__ import annotations

import json

from torchvision.transforms import v2

from covidct.callbacks.run_record import dataset_record, transform_record
from covidct.datasets import Cohort, ManifestVolumes, PhantomConfounded, SlicesOfVolumes
from covidct.transforms import Augment, default_augment

OWN = ManifestVolumes("/data/SENTINEL/scans.csv", intensity="unit", on_fault="repair", name="SENTINEL hospital")


class UsersOwn(ManifestVolumes):
    """Whose words may be anything."""

    def __init__(self, hospital: str, place: Hospital, beds: int) -> None:
        super().__init__("x.csv")
        self.hospital, self.place, self.beds = hospital, place, beds


Hospital = str


def test_words_of_a_closed_list_are_told_and_free_text_is_not() -> None:
    record = dataset_record(SlicesOfVolumes(OWN, slices_per_scan=5))
    volumes = {
        "name": "ManifestVolumes",
        "intensity": "unit",
        "on_fault": "repair",
        "allow_subject_overlap": False,
    }
    assert record == {"name": "SlicesOfVolumes", "volumes": [volumes], "slices_per_scan": 5}
    cohort = dataset_record(
        Cohort([ManifestVolumes("/data/SENTINEL.csv", classes="covid_vs_rest"), PhantomConfounded(num_subjects=6)])
    )
    assert [one["name"] for one in cohort["datasets"]] == ["ManifestVolumes", "PhantomConfounded"]
    assert cohort["datasets"][1]["diagnoses"] == ["normal", "covid"]
    assert "SENTINEL" not in json.dumps(cohort)
    assert dataset_record(UsersOwn("SENTINEL", "SENTINEL", 3)) == {"name": "UsersOwn", "beds": 3}


def test_transforms_are_told_with_their_numbers() -> None:
    record = transform_record(Augment(v2.Compose([v2.RandomHorizontalFlip(0.25)]), labels=(2,)))
    assert record is not None
    assert (record["name"], record["labels"], record["sided"]) == ("Augment", [2], False)
    (compose,) = record["transform"]
    assert compose["transforms"] == [{"name": "RandomHorizontalFlip", "p": 0.25}]
    assert transform_record(None) is None
    for kind in ("ct_volume", "ct_slice", "cxr"):
        json.dumps(transform_record(default_augment(kind)))
