"""Plain texts by name: where their files come from, and how they are cut into train and validation.

tinyshakespeare: 1,115,394 characters of Shakespeare (Karpathy 2015); as is usual, the first 90 percent of the
characters are for training, the last 10 percent for validation.
"""

import gzip
from typing import Literal, get_args

from heedful.data.documents import TextSettings
from heedful.data.fetch import Remote, fetch, find, writing

NamedText = Literal["tinyshakespeare"]
NAMES: tuple[NamedText, ...] = get_args(NamedText)

_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data"
_SUM = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_SHARE = 0.9


def named_text(name: NamedText, progress: bool = True) -> dict[str, TextSettings]:
    """Give train and validation of a text, fetching what is missing. Raises DataError where that cannot be had."""
    paths = {part: f"{name}/{part}.txt.gz" for part in ("train", "validation")}
    if any(find(path) is None for path in paths.values()):
        text = _text(name, progress)
        cut = int(_SHARE * len(text))
        for path, part in zip(paths.values(), (text[:cut], text[cut:]), strict=True):
            with writing(path) as temporary:
                temporary.write_bytes(gzip.compress(part.encode(), mtime=0))
    found = {part: find(path) for part, path in paths.items()}
    return {part: TextSettings(text=(path,)) for part, path in found.items() if path is not None}


def _text(name: str, progress: bool) -> str:
    path = find(f"{name}/input.txt.gz", _SUM, of_content=True)
    if path is not None:
        return gzip.decompress(path.read_bytes()).decode()
    return fetch(Remote(f"{name}/input.txt", f"{_URL}/{name}/input.txt", _SUM), progress).read_text("utf-8")
