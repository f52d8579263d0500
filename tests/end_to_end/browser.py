"""Chromium without a window, asked for what a user sees and does.

    with Browser() as browser:
        browser.open("http://127.0.0.1:8000/")
        browser.type("textarea[name=source]", "red blue")
        browser.click("button.look")
        browser.wait(lambda: "blue red" in browser.text("#answer"), "the answer")

Elements are named by CSS selectors. What is waited for is asked again until it is true, or fails with its name.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

PATIENCE = 90.0  # seconds; machines of continuous integration may be busy

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
    "--lang=en",
)


class Browser:
    """One window of Chromium. Skips the test by name where Chromium, its driver or selenium is not installed."""

    def __init__(self) -> None:
        webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
        names = ("chromium", "chromium-browser", "google-chrome")
        program = next((found for name in names if (found := shutil.which(name))), None)
        driver = shutil.which("chromedriver")
        if program is None or driver is None:
            pytest.skip("needs chromium and chromedriver")
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for argument in _ARGUMENTS:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.set_capability("unhandledPromptBehavior", "ignore")  # an alert stays, to be found
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        self.driver.set_page_load_timeout(PATIENCE)
        self.driver.set_script_timeout(PATIENCE)
        self.size(1280, 800)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.driver.quit()

    def size(self, width: int, height: int) -> None:
        """Make the window so many CSS pixels large; a narrow one is a phone with a touch screen."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def theme(self, name: str) -> None:
        """Prefer "light" or "dark", as the system would."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, address: str) -> None:
        """Load an address anew, also where only what follows # differs."""
        self.driver.get("about:blank")
        self.driver.get(address)

    @property
    def address(self) -> str:
        """What stands in the address line."""
        return self.driver.current_url

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page; gives what it returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[Any]:
        """Give the elements that can be seen."""
        return [one for one in self.driver.find_elements("css selector", selector) if one.is_displayed()]

    def find(self, selector: str, text: str = "") -> Any:
        """Give the first element that can be seen and has the text in it, when there is one."""
        return self.wait(
            lambda: next((one for one in self.all(selector) if text in one.text), None),
            f"{selector} {text}".strip(),
        )

    def text(self, selector: str) -> str:
        """Give the text of all such elements that can be seen; "" where there is none."""
        return "\n".join(one.text for one in self.all(selector))

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Ask until it is true; gives what it is. Elements that went away meanwhile are asked for again."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + PATIENCE
        while True:
            try:
                found = condition()
            except StaleElementReferenceException:
                found = None
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(
                    f"{what}: not in {PATIENCE:.0f} s. The page says: {self.text('body')[:2000]}"
                )
            time.sleep(0.05)

    def click(self, selector: str, text: str = "") -> None:
        """Click the middle of an element, as a mouse does."""
        self.find(selector, text).click()

    def type(self, selector: str, text: str) -> None:
        """Replace what stands in a field."""
        self.find(selector).click()
        self.press("CONTROL+a")
        # The driver's own keys cannot type what lies outside the basic plane, such as emoji.
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is: "a", "ENTER", "SHIFT+ARROW_RIGHT"."""
        from selenium.webdriver.common.keys import Keys

        chain = self._hands()
        for key in keys:
            *held, last = [getattr(Keys, part, part) for part in (key.split("+") if len(key) > 1 else [key])]
            for one in held:
                chain.key_down(one)
            chain.send_keys(last)
            for one in held:
                chain.key_up(one)
        chain.perform()

    def hover(self, element: Any, x: float = 0, y: float = 0) -> None:
        """Move the pointer to the middle of what is seen of an element, and so many pixels on."""
        self._hands().move_to_element_with_offset(element, round(x), round(y)).perform()

    def click_at(self, element: Any, x: float, y: float) -> None:
        """Click so many pixels from the middle of what is seen of an element."""
        self._hands().move_to_element_with_offset(element, round(x), round(y)).click().perform()

    def wheel(self, element: Any, steps: int, x: float = 0, y: float = 0) -> None:
        """Turn the wheel away from the user over a point counted from its middle."""
        from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

        origin = ScrollOrigin.from_element(element, round(x), round(y))
        for _ in range(steps):
            self._hands().scroll_from_origin(origin, 0, -120).perform()

    def alert(self) -> str | None:
        """Give the text of an alert that stands open; None: there is none."""
        from selenium.common.exceptions import NoAlertPresentException

        try:
            return self.driver.switch_to.alert.text
        except NoAlertPresentException:
            return None

    def errors(self) -> list[str]:
        """Give what the console has said of errors since it was last asked."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """Give the addresses of all requests since it was last asked, pages and data: addresses included."""
        events = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def picture(self, path: Path) -> None:
        """Save what is seen as PNG."""
        self.driver.save_screenshot(str(path))

    def _hands(self) -> Any:
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver, duration=20)
