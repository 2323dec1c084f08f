"""Check the built site in headless Chromium.

    python python/docs/check.py BUILD [--screenshots FOLDER]

Opens every page at two widths, light and dark. Fails if a page is wider than the window, a picture
is missing, an internal link is dead, or the browser reports an error. Needs Chromium, its driver,
and the extra ``docs``; no network.
"""

import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from shutil import which
from threading import Thread
from urllib.parse import unquote, urldefrag

from selenium import webdriver

WIDTHS = (1280, 400)
MODES = ("light", "dark")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)

# Returns a page's problems and links. Boxes that scroll, such as code and tables, may hold wider
# content.
EXAMINE = """
const scrolls = box => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
const within = box => box.tagName === "ARTICLE" ? false : scrolls(box) || within(box.parentElement);
const shown = [...document.images].filter(image => image.checkVisibility());
const wide = [...document.querySelectorAll("article *")].filter(
  element => element.getBoundingClientRect().right > window.innerWidth && !within(element.parentElement));
const overflow = document.documentElement.scrollWidth - window.innerWidth;
return {
  problems: [
    ...(overflow > 0 ? [`is ${overflow} pixels wider than the window`] : []),
    ...wide.map(element => `has a wide ${element.tagName}: ${element.textContent.trim().slice(0, 40)}`),
    ...shown.filter(image => !image.complete || image.naturalWidth === 0).map(image => `misses ${image.src}`),
    ...[...document.images].filter(image => !image.alt).map(image => `has no text for ${image.src}`),
  ],
  links: [...document.links].map(link => link.href),
  anchors: [...document.querySelectorAll("[id]")].map(element => element.id),
};
"""


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Be silent."""


def open_browser(profile: str) -> webdriver.Chrome:
    """Start Chromium with a profile of its own."""
    options = webdriver.ChromeOptions()
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = path_of("chromium")
    return webdriver.Chrome(options, webdriver.ChromeService(path_of("chromedriver")))


def path_of(program: str) -> str:
    """Return the path of a program; without one Selenium would try to download it."""
    if path := which(program):
        return path
    sys.exit(f"{program} is missing (Debian: apt-get install chromium chromium-driver)")


def check(browser: webdriver.Chrome, address: str, pages: list[str], screenshots: Path | None) -> Iterator[str]:
    """Yield what is wrong."""
    links: dict[str, set[str]] = {}
    anchors: dict[str, set[str]] = {}
    for width, mode in product(WIDTHS, MODES):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"features": [{"name": "prefers-color-scheme", "value": mode}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        for page in pages:
            browser.get(f"{address}/{page}")
            seen = browser.execute_script(EXAMINE)
            where = f"{page}, {width} pixels, {mode}"
            yield from (f"{where}: {problem}" for problem in seen["problems"])
            yield from (f"{where}: {entry['message']}" for entry in browser.get_log("browser"))  # type: ignore[no-untyped-call]
            links.setdefault(page, set()).update(seen["links"])
            anchors.setdefault(page, set()).update(seen["anchors"])
            if screenshots:
                height = browser.execute_script("return document.documentElement.scrollHeight")
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "height": height})
                browser.save_screenshot(str(screenshots / f"{page.replace('/', '-').removesuffix('.html')}-{width}-{mode}.png"))
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for page, targets in links.items():
        for link in sorted(targets):
            target, anchor = urldefrag(link)
            target = target.removeprefix(f"{address}/") or "index.html"
            if link.startswith(address) and not target.startswith("_"):
                if target not in anchors:
                    yield f"{page}: a dead link to {target}"
                elif anchor and unquote(anchor) not in anchors[target]:
                    yield f"{page}: a dead link to {target}#{anchor}"


def main() -> int:
    """Serve and check the site; return the exit status."""
    parser = ArgumentParser(description="Check the built site in headless Chromium.")
    parser.add_argument("build", type=Path, metavar="BUILD", help="folder of the built site")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="save a picture of each page")
    arguments = parser.parse_args()
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    pages = sorted(path.relative_to(arguments.build).as_posix() for path in arguments.build.rglob("*.html"))
    if not pages:
        sys.exit(f"{arguments.build} has no pages")
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=arguments.build)) as server,
        tempfile.TemporaryDirectory() as profile,
    ):
        Thread(target=server.serve_forever, daemon=True).start()
        browser = open_browser(profile)
        try:
            problems = list(check(browser, f"http://127.0.0.1:{server.server_port}", pages, arguments.screenshots))
        finally:
            browser.quit()
            server.shutdown()
    print(*problems, f"{len(pages)} pages, {len(problems)} problems", sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
