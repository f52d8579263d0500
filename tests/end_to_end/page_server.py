"""`heedful view` in a process of its own: of a model, or of one whose every token is a script that wants to be run."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heedful.viewing.scene import Axis, Scene, Token
from tests.viewing.tiny import Tiny

HEEDFUL = [sys.executable, "-m", "heedful"]
SCRIPTS = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '"onfocus="alert(1)',
    "${alert(1)}",
)


class Hostile(Tiny):
    """Every token is a script that wants to be run, and so are title and answer."""

    def _look(self, texts: dict[str, str], **options: Any) -> Scene:
        scene = super()._look(texts, **options)
        tokens = tuple(Token(SCRIPTS[place % len(SCRIPTS)]) for place in range(len(texts["text"])))
        scene.axes["text"] = Axis("text", SCRIPTS[0], tokens)
        return scene


HOSTILE = [
    sys.executable,
    "-c",
    "import sys; from heedful.viewing import looking; from tests.end_to_end.page_server import Hostile; "
    "looking.open_model = lambda path, device: Hostile(); from heedful.cli import main; main(sys.argv[1:])",
]


class Server:
    """`heedful view` in a process of its own, that can be ended and begun again at the same address."""

    def __init__(self, model: Path, repository: Path, program: list[str] = HEEDFUL) -> None:
        self.model, self.repository, self.program = model, repository, program
        self.port, self.address, self.process = 0, "", None

    def start(self) -> "Server":
        if self.process is None:
            command = [*self.program, "view", str(self.model), "--no-browser", "--port", str(self.port)]
            self.process = subprocess.Popen(command, cwd=self.repository, stdout=subprocess.PIPE, text=True)
            self.address = self.process.stdout.readline().split()[0]
            self.port = urlsplit(self.address).port
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.communicate()
            self.process = None
