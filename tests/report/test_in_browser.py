"""The pages in a real browser, opened from disk: no request, no complaint, usable by keyboard."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

from covidct.report import write_cohort_page, write_evaluation_page, write_scan_page
from covidct.result import CohortResult
from covidct.volume import Finding
from tests.report.browser import headless, opened
from tests.report.samples import RUN, evaluated, failed, scan, viewed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

HOSTILE = (
    "</script><script>document.title='x'</script>",
    "\"'><img src=x onerror=document.title='x'>",
    "<!--<script>",
    "\u202etxt \u2028 \u00e9\u4e2d\U0001f600",
    "w" * 3000,
)
SCREENS: list[tuple[int, Literal["light", "dark"]]] = [(400, "light"), (1000, "dark"), (1600, "light")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless() as found:
        yield found


@pytest.fixture
def scan_page(tmp_path: Path) -> Path:
    write_scan_page(viewed(), RUN, tmp_path / "scan.html", back="../index.html")
    return tmp_path / "scan.html"


def wait_for(page: Page, index: int) -> None:
    """Until the picture shows a slice."""
    page.locator(f"#slice[data-shown='{index}']").wait_for()


def pixel(page: Page, x: int, y: int) -> list[int]:
    """Red, green, blue of a pixel of the picture, after the drawing under way."""
    script = """([x, y]) => new Promise(done => setTimeout(() => {
        const copy = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
        copy.drawImage(document.getElementById('slice'), x, y, 1, 1, 0, 0, 1, 1);
        done([...copy.getImageData(0, 0, 1, 1).data].slice(0, 3));
    }, 50))"""
    return list(page.evaluate(script, [x, y]))


def overflow(page: Page) -> int:
    """How far the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_slices_are_reached_by_keys_wheel_slider_buttons_and_touch(browser: Browser, scan_page: Path) -> None:
    with opened(browser, scan_page, viewport={"width": 1000, "height": 900}) as seen:
        page = seen.page
        wait_for(page, 5)  # the slice of the highest score
        canvas = page.locator("#slice")
        canvas.focus()
        at = 5
        for key, index in [("ArrowUp", 6), ("ArrowLeft", 5), ("End", 11), ("PageDown", 1), ("Home", 0), ("PageUp", 10)]:
            page.keyboard.press(key)
            wait_for(page, index)
            at = index
        assert canvas.get_attribute("aria-valuenow") == str(at)
        assert canvas.get_attribute("aria-valuetext") == "slice 10 of 0 to 11, score 0.10"
        assert page.locator("#height").inner_text() == "25.0"
        canvas.hover()
        page.mouse.wheel(0, 120)
        wait_for(page, 9)
        page.locator("#along").fill("3")
        wait_for(page, 3)
        page.locator("button[data-step='1']").click()
        wait_for(page, 4)
        box = canvas.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 100 + 3 * box["width"] / 40, box["y"] + 100)
        page.mouse.up()
        wait_for(page, 7)


def test_windows_are_those_of_their_names(browser: Browser, scan_page: Path) -> None:
    with opened(browser, scan_page) as seen:
        page = seen.page
        wait_for(page, 5)
        page.locator("#slice").focus()
        page.keyboard.press("o")  # no overlays
        assert pixel(page, 3, 44)[0] == pytest.approx(255 * (-650 + 1250) / 1500, abs=2)
        page.keyboard.press("w")
        assert page.locator("input[name=window]:checked").get_attribute("value") == "1"
        assert pixel(page, 3, 44) == [0, 0, 0]  # -650 HU in a window from -160 to 240
        page.locator("#level").fill("-650")
        assert page.locator("input[name=window]:checked").get_attribute("value") == "own"
        assert pixel(page, 3, 44)[0] == pytest.approx(127.5, abs=3)


def test_overlays_lie_where_they_belong(browser: Browser, scan_page: Path) -> None:
    def alone(page: Page, name: str) -> None:
        for box in page.locator(".overlay input[type=checkbox]").all():
            box.set_checked(False)
        page.locator(f"[data-layer={name}] input[type=checkbox]").set_checked(True)

    with opened(browser, scan_page) as seen:
        page = seen.page
        wait_for(page, 5)
        alone(page, "lungs")
        grey = pixel(page, 3, 44)
        assert pixel(page, 8, 25) == [0x5C, 0xC8, 0xFF]  # the edge of the right lung
        assert pixel(page, 55, 25) == [0x7A, 0xF0, 0xC0]
        assert pixel(page, 20, 35) == grey  # inside it
        alone(page, "lesions")
        red = pixel(page, 18, 27)
        assert red[0] > grey[0] > red[1]
        page.locator("[data-layer=lesions] input[type=range]").fill("0")
        assert pixel(page, 18, 27) == grey
        alone(page, "cam")  # 1 in the cell (1, 1) of 3 x 4: pixels 16 to 32 across, 16 to 32 down
        hot = pixel(page, 24, 24)
        assert hot[0] > 170 > 100 > hot[2]
        assert pixel(page, 60, 4) == grey
        page.locator("#along").fill("8")
        wait_for(page, 8)
        assert pixel(page, 24, 24) == pixel(page, 60, 4)
        page.locator("#along").fill("0")
        wait_for(page, 0)
        assert page.locator("[data-layer=lungs] .absent").is_visible()
        alone(page, "weights")
        assert pixel(page, 24, 24)[0] > pixel(page, 24, 24)[2]  # orange
        alone(page, "attention")
        page.locator("#along").fill("5")
        wait_for(page, 5)
        assert pixel(page, 24, 24)[0] == pytest.approx(grey[0], abs=1)  # the heaviest share leaves it as it is


def test_curves_and_captions_lead_to_their_slice(browser: Browser, scan_page: Path) -> None:
    with opened(browser, scan_page) as seen:
        page = seen.page
        wait_for(page, 5)
        curve = page.locator("[data-curve=scores] svg")
        box = curve.bounding_box()
        assert box is not None
        left, right = 10, 630  # of the chart's drawing area of 640
        curve.click(position={"x": box["width"] * (left + 3 / 11 * (right - left)) / 640, "y": box["height"] / 2})
        wait_for(page, 3)
        curve.press("ArrowRight")
        wait_for(page, 4)
        curve.press("Home")
        wait_for(page, 0)
        assert curve.get_attribute("role") == "slider"
        page.locator("details.chosen > summary").click()
        page.locator("a[data-slice='5']").first.press("Enter")
        wait_for(page, 5)
        assert page.evaluate("document.activeElement.id") == "slice"


@pytest.mark.parametrize("name", ["scan.html", "cohort.html", "report.html"])
def test_nothing_overflows(browser: Browser, scan_page: Path, name: str) -> None:
    report, cohort = evaluated()
    write_cohort_page(cohort, scan_page.with_name("cohort.html"))
    write_evaluation_page(report, cohort, scan_page.with_name("report.html"))
    with opened(browser, scan_page.with_name(name)) as seen:
        for width, scheme in SCREENS:
            seen.page.set_viewport_size({"width": width, "height": 900})
            seen.page.emulate_media(color_scheme=scheme)
            assert overflow(seen.page) == 0, width


def test_a_single_picture_has_a_viewer_too(browser: Browser, tmp_path: Path) -> None:
    whole = viewed()
    assert whole.viewer is not None
    one = replace(whole.viewer, slices=whole.viewer.slices[:1], lungs=whole.viewer.lungs[5:6], knots=(), start=0)
    one = replace(one, lesions=(), cam=None, weights=None)
    flat = replace(whole, viewer=one, attention=(), slice_scores=(), geometry={"shape": [48, 64]})
    write_scan_page(flat, RUN, tmp_path / "scan.html")
    with opened(browser, tmp_path / "scan.html") as seen:
        wait_for(seen.page, 0)
        assert seen.page.locator("#along").count() == 0
        seen.page.locator("#slice").press("o")
        assert not seen.page.locator("[data-layer=lungs] input[type=checkbox]").is_checked()


def test_a_cohort_is_sorted_and_filtered(browser: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    prob = rng.dirichlet(np.ones(3), 30)
    scans = [scan(number, row.tolist(), "covid") for number, row in enumerate(prob)]
    scans[4] = replace(scans[4], findings=(Finding("missing_slices", "Two are missing."),))
    write_cohort_page(CohortResult((*scans, failed(1), failed(2, "It is an X-ray.")), RUN), tmp_path / "cohort.html")
    with opened(browser, tmp_path / "cohort.html") as seen:
        page = seen.page

        def shown() -> list[str]:
            found = page.locator("tr[data-find]:not([hidden]) th").all_text_contents()
            return [name for name in found if name.startswith("case")]

        head = page.locator("th[data-sort]", has_text="COVID-19")
        head.locator("button").press("Enter")  # by keyboard
        expected = [scans[index].id for index in np.argsort(-prob[:, 2])]
        assert shown() == expected
        assert head.get_attribute("aria-sort") == "descending"
        head.locator("button").click()
        assert shown() == expected[::-1]
        page.locator("[data-filter=predicted]").select_option("cap")
        wanted = [scans[index].id for index in np.argsort(prob[:, 2]) if prob[index].argmax() == 1]
        assert shown() == wanted
        assert page.locator("#filters output").inner_text() == f"{len(wanted)} of 32"
        page.locator("#filters button").click()
        page.locator("[data-filter=find]").fill("MISSING")
        assert shown() == [scans[4].id]
        page.locator("[data-filter=find]").fill("x-ray")
        assert not page.locator("#scans").is_visible()
        assert page.get_by_text("It is an X-ray.").is_visible()
        page.locator("[data-filter=status]").select_option("done")
        assert page.get_by_text("No scan fits").is_visible()
        page.locator("#filters button").click()
        page.locator("[data-filter=verdict]").select_option("wrong")
        assert len(shown()) == sum(row.argmax() != 2 for row in prob)


def test_hostile_strings_stay_text(browser: Browser, tmp_path: Path) -> None:
    whole, text = viewed(), " ".join(HOSTILE)
    assert whole.viewer is not None
    bad = replace(
        whole,
        id=text,
        predicted=text,
        probabilities={"normal": 0.3, text: 0.7},
        findings=(Finding(text, text),),
        geometry={"shape": [3, 4, 5], text: text},
        lungs_ml={text: 1.0},
        viewer=replace(whole.viewer, cam_class=text, lesion_names=("background", text, text)),
    )
    run = RUN | {text: text}
    cohort = CohortResult((bad, replace(failed(1, text), id=f"{text}2")), run)
    write_scan_page(bad, run, tmp_path / "scan.html", back=text)
    write_cohort_page(cohort, tmp_path / "cohort.html", title=text, links={text: text})
    for name in ("scan.html", "cohort.html"):
        with opened(browser, tmp_path / name, viewport={"width": 400, "height": 800}) as seen:
            if name == "scan.html":
                wait_for(seen.page, 5)
                seen.page.locator("#slice").press("End")
                wait_for(seen.page, 11)
            else:
                seen.page.locator("[data-filter=find]").fill(HOSTILE[0])
                assert seen.page.locator("#filters output").inner_text() == "all 2"
            assert seen.page.title().endswith("covidct")
            assert text in str(seen.page.locator("main").text_content())
            assert overflow(seen.page) == 0
