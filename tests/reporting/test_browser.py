"""The page in a real browser: no console message, no sideways scroll, light and dark, print."""

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.reporting import report
from tests.factories import write_shapes_study, write_squares_study

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
)
# The page in a frame of a given width (a window is never narrower than 500 px), and what its
# layout came to, as attributes of the outer <html>.
FRAME = """<!doctype html><html><body>
<iframe width="{width}" height="900" style="border:0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", function () {{
  var page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  function tell(name, value) {{
    document.documentElement.setAttribute("data-" + name, value);
  }}
  tell("overflow", root.scrollWidth - root.clientWidth);
  tell("width", root.clientWidth);
  tell("shown", ["wide", "narrow"].filter(function (name) {{
    return page.querySelector(".plot ." + name).getClientRects().length > 0;
  }}).join(" "));
  var heads = page.querySelectorAll("table.sortable th button");
  tell("buttons", heads.length);
  heads[3].click(); heads[3].click();
  var cells = page.querySelectorAll("table.sortable tbody tr td:nth-child(4)");
  tell("sorted", Array.from(cells).map(function (cell) {{ return cell.textContent; }}).join(" "));
}});
</script></body></html>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium: set CHROMIUM or put chromium on PATH")
    return path


@pytest.fixture(scope="module", params=["boxes", "masks"])
def page(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("study")
    if request.param == "masks":
        return report(write_shapes_study(folder)).html
    return report(write_squares_study(folder, shift=0.2)).html


def browse(chromium: str, profile: Path, page: Path, *flags: str) -> tuple[str, str]:
    """Open a page in a fresh profile; returns what came on stdout and stderr."""
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def console(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "CONSOLE" in line or "Refused to" in line]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_screenshots_without_console_messages(
    chromium: str, page: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    shot = tmp_path / "shot.png"
    dark = {"light": 1, "dark": 0}[scheme]
    _, stderr = browse(
        chromium,
        tmp_path / "profile",
        page,
        f"--window-size={width},1400",
        f"--blink-settings=preferredColorScheme={dark}",
        f"--screenshot={shot}",
    )
    assert console(stderr) == []
    with Image.open(shot) as image:
        assert image.size == (width, 1400)
        pixels = np.asarray(image.convert("L"))
    corner = pixels[-1, :3].mean()
    assert (corner > 200) if scheme == "light" else (corner < 50)
    assert pixels.std() > 10, "the page is not empty"


def test_a_script_that_is_not_ours_is_refused_and_seen(
    chromium: str, page: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.html"
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", "<script>alert(1)</script></body>"), encoding="utf-8")
    _, stderr = browse(chromium, tmp_path / "profile", copy, "--dump-dom")
    assert console(stderr) != []


def attributes(dom: str) -> dict[str, str]:
    opening = re.search(r"<html[^>]*>", dom)
    assert opening is not None
    return dict(re.findall(r'data-(\w+)="([^"]*)"', opening[0]))


@pytest.mark.parametrize(("width", "shown"), [(1280, "wide"), (500, "narrow"), (360, "narrow")])
def test_nothing_makes_the_page_scroll_sideways(
    chromium: str, page: Path, tmp_path: Path, width: int, shown: str
) -> None:
    frame = tmp_path / "frame.html"
    text = html.escape(page.read_text(encoding="utf-8"))
    frame.write_text(FRAME.format(width=width, page=text), encoding="utf-8")
    dom, stderr = browse(
        chromium, tmp_path / "profile", frame, "--window-size=1400,1000", "--dump-dom"
    )
    assert console(stderr) == []
    found = attributes(dom)
    assert found["width"] == str(width)
    assert found["overflow"] == "0"
    assert found["shown"] == shown
    masks = "mean IoU" in text
    assert int(found["buttons"]) == 11, "every heading of the trial table sorts"
    column = found["sorted"].split()  # of masks that of the flags, else of a score
    expected = ["random,", "frozen"] * 2 if masks else sorted(column, key=float, reverse=True)
    assert column == expected
    assert len(column) == 4


def test_it_prints(chromium: str, page: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    browse(chromium, tmp_path / "profile", page, f"--print-to-pdf={pdf}")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12
