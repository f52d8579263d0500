"""`heedful view` and `heedful.view`: from a folder and a text to a page."""

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import heedful as package
from heedful.cli import view as command
from heedful.cli.input import text_or_file
from heedful.errors import DataError
from heedful.viewing import looking, notebook, server
from heedful.viewing.notebook import Page, view
from heedful.viewing.saved import SavedPage
from tests.cli.conftest import Heedful, heedful  # noqa: F401 -- a fixture
from tests.viewing.tiny import Tiny


@pytest.fixture(autouse=True)
def _tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "open_model", lambda path, device="auto": Tiny())


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list:
    """What would have been served, and which address a browser would have been sent to."""
    found: list = []
    monkeypatch.setattr(
        server, "serve", lambda app, taken, ready: (taken.close(), ready(), found.append(app))
    )
    monkeypatch.setattr(command, "_opens", lambda address: found.append(address) or True)
    return found


def test_a_page_is_saved_and_says_what_is_in_it(heedful: Heedful, tmp_path: Path):  # noqa: F811
    path = tmp_path / "page.html"
    ran = heedful("view", "model", "--text", "abc", "--save", path)
    assert ran.status == 0, ran.err
    assert path.read_text("utf-8").startswith("<!doctype html>")
    first, *others = ran.out.splitlines()
    assert first.startswith(f"{path}: ")
    assert "kB" in first
    assert "2 attention modules, 4 heads; 3 in Text" in others[0]
    assert any("Weights are kept as the model has them." in line for line in others)
    assert "text: 'abc'" in ran.err


def test_a_file_is_not_replaced_unasked(heedful: Heedful, tmp_path: Path):  # noqa: F811
    path = tmp_path / "page.html"
    path.write_text("mine")
    ran = heedful("view", "model", "--text", "abc", "--save", path)
    assert ran.status == 2
    assert "--overwrite" in ran.err
    assert path.read_text() == "mine"
    assert heedful("view", "model", "--text", "abc", "--save", path, "--overwrite").status == 0
    assert path.read_text("utf-8") != "mine"


def test_a_text_may_stand_in_a_file(heedful: Heedful, tmp_path: Path):  # noqa: F811
    (tmp_path / "text.txt").write_text("\ufeffabcd\n", "utf-8")
    ran = heedful("view", "model", "--source", tmp_path / "text.txt", "--save", tmp_path / "page.html")
    assert f"the file {tmp_path / 'text.txt'}, 4 characters" in ran.err
    assert "4 in Text" in ran.out
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    ran = heedful("view", "model", "--text", tmp_path / "latin.txt", "--save", tmp_path / "other.html")
    assert ran.status == 2
    assert "latin.txt cannot be read as text" in ran.err
    ran = heedful("view", "model", "--text", tmp_path / "text.text", "--save", tmp_path / "third.html")
    assert "no file has this name; the nearest name in its folder is text.txt" in " ".join(ran.err.split())
    # A text that is no file, however long or odd, is a text.
    assert text_or_file("a" * 300) == "a" * 300
    assert text_or_file("a\0b") == "a\0b"


def test_two_texts_open_side_by_side(heedful: Heedful, served: list):  # noqa: F811
    ran = heedful("view", "model", "--text", "one & two", "--text", "three")
    assert ran.status == 0, ran.err
    address, _ = served
    assert address.startswith("http://127.0.0.1:")
    assert address.endswith("/#view=compare&model=0&other.model=0&t.text=one+%26+two&other.t.text=three")
    assert ran.out.startswith("http://127.0.0.1:")


def test_two_models_open_side_by_side(heedful: Heedful, served: list):  # noqa: F811
    assert heedful("view", "one", "two", "--text", "abc").status == 0
    assert "view=compare&model=0&other.model=1" in served[0]


def test_no_browser_is_opened_where_none_is_wanted(heedful: Heedful, served: list):  # noqa: F811
    assert heedful("view", "model", "--no-browser").status == 0
    assert len(served) == 1


def test_others_are_let_in_only_with_a_warning(
    heedful: Heedful,  # noqa: F811
    served: list,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(socket, "gethostname", lambda: "mine")
    assert "warning" not in heedful("view", "model", "--no-browser").err
    ran = heedful("view", "model", "--no-browser", "--host", "0.0.0.0")
    assert "warning: whoever reaches 0.0.0.0 can read" in ran.err
    own, everywhere = served[0], served[1]
    for app, status in ((own, 403), (everywhere, 200)):
        client = TestClient(app, base_url="http://192.0.2.7:8080")
        assert client.get("/api/models", headers={"host": "192.0.2.7:8080"}).status_code == status
        assert client.get("/api/models", headers={"host": "mine:8080"}).status_code == status
        assert client.get("/api/models", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--save", "page.html"), "give one with --text"),
        (("--text", "a", "--text", "b", "--text", "c"), "got 3"),
        (("--text", "loud!"), "does not shout"),
        (("--text", "abc", "--save", "."), "is a folder"),
        (("--host", "no such host"), "cannot be served"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: tuple[str, ...],
    said: str,
    heedful: Heedful,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    ran = heedful("view", "model", *arguments)
    assert ran.status == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_second_text_needs_a_model_that_asks_for_one(heedful: Heedful, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    monkeypatch.setattr(Tiny, "asks", Tiny.asks[:1])
    ran = heedful("view", "model", "--text", "a", "--target", "b")
    assert ran.status == 2
    assert "leave --target out" in ran.err


def test_a_page_shows_itself_in_a_notebook_and_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notebook, "_in_notebook", lambda: True)
    monkeypatch.setattr(notebook.webbrowser, "open", lambda address: pytest.fail("no browser is opened"))
    shown = view(Tiny(), "abc", beside="abd", seconds=0.0)
    inline = shown._repr_html_()
    assert inline.startswith("<iframe srcdoc=")
    assert inline.count("<") == 2  # all else is escaped
    assert 'sandbox="allow-scripts allow-downloads"' in inline
    path = shown.save(tmp_path / "page.html")
    assert path.read_text("utf-8") == shown.made.html
    with pytest.raises(DataError, match="overwrite"):
        shown.save(path)
    assert "2 attention modules" in repr(shown)


def test_elsewhere_it_opens_in_a_browser(monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    monkeypatch.setattr(notebook.webbrowser, "open", lambda address: opened.append(address) or True)
    Page(SavedPage("<!doctype html>", ["nothing"])).open()
    assert opened[0].startswith("file:///")
    assert opened[0].endswith("/page.html")
    assert package.view is view


SERVED = """
import sys
from heedful.viewing import looking
from tests.viewing.tiny import Tiny
looking.open_model = lambda path, device="auto": Tiny()
from heedful.cli import main
main(["view", "model", "--no-browser"])
"""


def test_the_server_says_its_address_answers_there_and_ends_with_ctrl_c(repository: Path):
    with subprocess.Popen(
        [sys.executable, "-c", SERVED],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            address = process.stdout.readline().split()[0]
            try:
                with urllib.request.urlopen(f"{address}api/models") as answer:
                    assert b"letters" in answer.read()
            except OSError as error:
                process.kill()
                pytest.fail(f"{address}: {error}; the server: {process.wait()}, {process.stderr.read()}")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()
