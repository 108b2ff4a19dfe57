"""Make the pictures of the docs from a finished study: `make pictures`, after `make study`.

`docs/pictures/init.svg` is a terminal in which `shotcount init` reads the study's photos;
`docs/pictures/report.png` is the first screen of `metrics/report.html`. It needs Chromium.
"""

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path

import yaml
from PIL import Image, PngImagePlugin
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

COLUMNS = 100  # of the terminal
FONT, LINE, LETTER = 14, 19, 8.4  # px: the size of the font, the height of a line, a letter's width
SCREEN = (1000, 900)  # px of the report's picture
COLOURS = 128  # of the report's picture: a chart and text need no more


def main() -> None:
    made = Path("docs/pictures")
    made.mkdir(exist_ok=True)
    lines = ["$ shotcount init photos", *init_photos().splitlines()]
    (made / "init.svg").write_text(draw_terminal(lines), encoding="utf-8")
    take_screen(Path("metrics/report.html").resolve(), made / "report.png")


def init_photos() -> str:
    """What `shotcount init photos` prints where the photos of the study are called `photos`."""
    path = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["data"]["path"]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy("params.yaml", folder)
        (Path(folder) / "photos").symlink_to(Path(path).resolve())
        command = ["shotcount", "init", "photos"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True)
    return ran.stdout


def draw_terminal(lines: list[str]) -> str:
    """A terminal with these lines, as an SVG. Longer lines go on in the next row."""
    rows = [line[i : i + COLUMNS] for line in lines for i in range(0, len(line) or 1, COLUMNS)]
    width, height = round(COLUMNS * LETTER + 32), len(rows) * LINE + 32
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">',
        f"<title>{escape(lines[0])}</title>",
        "<style>text { fill: #d6dae0; white-space: pre; "
        f"font: {FONT}px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace }} "
        ".typed { fill: #ffffff; font-weight: bold }</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#22272e"/>',
    ]
    for number, row in enumerate(rows):
        if row.strip():
            kind = ' class="typed"' if row.startswith("$ ") else ""
            y, long = 16 + number * LINE + FONT, len(row) * LETTER
            drawn.append(f'<text{kind} x="16" y="{y}" textLength="{long:.1f}">{escape(row)}</text>')
    return "\n".join([*drawn, "</svg>\n"])


def take_screen(page: Path, to: Path) -> None:
    """Save the first screen of the report, and with it the hash of the answer that it shows."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for option in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
            options.add_argument(f"--{option}")
        options.add_argument(f"--user-data-dir={profile}")
        browser = webdriver.Chrome(options, Service(executable_path=shutil.which("chromedriver")))
        try:
            size = dict(zip(("width", "height"), SCREEN, strict=True))
            metrics = {**size, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            browser.get(page.as_uri())
            taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
        finally:
            browser.quit()
    picture = Image.open(io.BytesIO(base64.b64decode(taken))).convert("RGB").quantize(COLOURS)
    study = PngImagePlugin.PngInfo()
    study.add_text("study.md", hashlib.sha256(Path("metrics/study.md").read_bytes()).hexdigest())
    picture.save(to, optimize=True, pnginfo=study)


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    main()
