"""A page in Chromium without a window: when it first draws something, and what memory it takes."""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MARK = (
    "return performance.getEntriesByName('heedful-first-picture').map((mark) => mark.startTime)[0] ?? null"
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Give a selenium driver; None, and say why, where there is no Chromium."""
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
    except ImportError:
        print("no Chromium: selenium is not installed", file=sys.stderr)
        yield None
        return
    options = webdriver.ChromeOptions()
    for name in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "window-size=1280,800",
    ):
        options.add_argument(f"--{name}")
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    try:
        browser = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
        )
    except WebDriverException as error:
        print(f"no Chromium: {error.msg}", file=sys.stderr)
        yield None
        return
    try:
        yield browser
    finally:
        browser.quit()


def first_picture(browser: Any, address: str) -> float | None:
    """Open a page; give the milliseconds from the start of the navigation to the first picture; None after a minute."""
    browser.get("about:blank")
    browser.get(address)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (mark := browser.execute_script(_MARK)) is not None:
            return mark
        time.sleep(0.05)
    return None


def memory() -> float:
    """Of the processes that draw pages, in MB; what several share is divided among them. Needs /proc."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                lines = (process / "smaps_rollup").read_text().splitlines()
                found += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):  # it has ended meanwhile
            continue
    return found / 1000
