"""report.html in Chromium: everything shows, at every width and in the dark; nothing is fetched."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Clone
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from test_page import make_page

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SIZES = {"phone": (360, 740), "desktop": (1280, 900)}
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
)

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs Debian's packages chromium and chromium-driver"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER or ""
    for option in [*OPTIONS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(executable_path=DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module", params=["names that try to be markup", "a study"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "a study":
        study: Clone = request.getfixturevalue("study")
        return study.folder / "metrics" / "report.html"
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(make_page(folder), encoding="utf-8")
    return path


def show(browser: webdriver.Chrome, page: Path, size: str, scheme: str) -> None:
    """Open the page as a device of this size and colour scheme would."""
    width, height = SIZES[size]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for log in ("browser", "performance"):
        browser.get_log(log)  # what came before is not of this page
    browser.get(page.as_uri())


def requested(browser: webdriver.Chrome) -> list[str]:
    """Return what the page has asked for, itself included, pictures within it left out."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return [address for address in addresses if not address.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_page_shows_whole_and_fetches_nothing(
    browser: webdriver.Chrome, report: Path, size: str, scheme: str
) -> None:
    show(browser, report, size, scheme)
    assert requested(browser) == [report.as_uri()]
    assert browser.get_log("browser") == []
    images = browser.execute_script(
        "return [...document.images].map(i => [i.naturalWidth, i.clientWidth, i.alt])"
    )
    assert len(images) > 8
    for natural, shown, alt in images:
        assert natural > 0
        assert shown > 30
        assert alt
    window, room, wide = browser.execute_script(
        "const page = document.documentElement;"
        "return [innerWidth, page.clientWidth, page.scrollWidth]"
    )
    assert window == SIZES[size][0]  # a phone would widen it for a page too wide
    assert wide <= room
    # What is wider than the screen scrolls by itself, by keyboard too.
    for overflow, focusable in browser.execute_script(
        "return [...document.querySelectorAll('.scroll, pre')].map("
        "box => [box.scrollWidth > box.clientWidth, box.tabIndex >= 0])"
    ):
        assert focusable or not overflow


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(
    browser: webdriver.Chrome, report: Path, scheme: str
) -> None:
    """Contrast of 4.5 at least: WCAG 2.2, success criterion 1.4.3."""
    show(browser, report, "desktop", scheme)
    ratios = browser.execute_script(CONTRAST)
    assert len(ratios) > 100
    assert min(ratio for ratio, _ in ratios) >= 4.5, min(ratios)


# Every element that holds text itself: its colour against the grounds behind it, blended.
CONTRAST = """
const parse = colour => colour.match(/[\\d.]+/g).map(Number);
const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
function ground(element) {
  if (!element) return [255, 255, 255];
  const [r, g, b, a = 1] = parse(getComputedStyle(element).backgroundColor);
  if (a === 1) return [r, g, b];
  const below = ground(element.parentElement);
  return [r, g, b].map((c, n) => a * c + (1 - a) * below[n]);
}
document.querySelectorAll("details").forEach(d => d.open = true);
const found = [];
for (const e of document.body.querySelectorAll("*")) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.checkVisibility()) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)]);
}
return found;
"""
