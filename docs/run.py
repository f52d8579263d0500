"""Runs the pages whose numbers and figures are made by the page itself.

    python docs/run.py docs/attention.md            # run the page and write its outputs into it
    python docs/run.py docs/attention.md --check    # run it and fail where an output is not what the page says

The Python blocks of a page run in order in one namespace. What a block prints stands in the `text` block after it, and
what it leaves in the name `picture` is saved where the picture after it points to. A check lets the last printed digit
of a decimal number differ by one: machines round differently. All else must agree.
"""

import argparse
import contextlib
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

PART = re.compile(
    r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?(?:\n!\[[^\]]*\]\((?P<figure>[\w./-]+)\)\n)?",
    re.DOTALL,
)
NUMBER = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?|\d+")

# In figures: how much of a pixel, and of a colour, is noise.
PIXEL = 0.06


@dataclass
class Run:
    """What one run of a page gives: the page with its outputs, and figures by the name of their file."""

    text: str
    figures: dict[str, str]


def run(page: Path) -> Run:
    """Run the page; nothing is written. Raises SystemExit for a block whose output has no place."""
    said = page.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {}
    figures: dict[str, str] = {}

    def again(part: re.Match[str]) -> str:
        printed = io.StringIO()
        line = said[: part.start()].count("\n") + 2
        with contextlib.redirect_stdout(printed):
            # The empty lines let an error name the line of the page.
            exec(compile("\n" * (line - 1) + part["code"], str(page), "exec"), namespace)
        picture, output = namespace.pop("picture", None), printed.getvalue()
        if bool(output) != (part["output"] is not None) or bool(picture) != bool(part["figure"]):
            raise SystemExit(
                f"{page}, line {line}: what this block makes has no place after it, or the place nothing."
            )
        text = part[0]
        if output:
            text = text.replace(f"```text\n{part['output']}```", f"```text\n{output}```", 1)
        if picture:
            figures[part["figure"]] = picture
        return text

    sys.path.insert(0, str(page.parent))  # where `drawing` is
    try:
        return Run(PART.sub(again, said), figures)
    finally:
        sys.path.remove(str(page.parent))
        torch.set_printoptions(profile="default")


def differences(page: Path, found: Run) -> list[str]:
    """Say where a run gave something else than the page and its figures do."""
    said = page.read_text(encoding="utf-8").splitlines()
    lines = found.text.splitlines()
    wrong = [f"- {old}\n+ {new}" for old, new in zip(said, lines, strict=False) if not same(old, new)]
    if len(said) != len(lines):
        wrong.append(f"The page has {len(said)} lines, the run gave {len(lines)}.")
    for name, figure in found.figures.items():
        file = page.parent / name
        if not file.exists() or not same(file.read_text(encoding="utf-8"), figure, PIXEL):
            wrong.append(f"{name} is not the figure that this run gave.")
    return wrong


def same(said: str, found: str, slack: float = 0.0) -> bool:
    """Whether two texts agree in all but the last digit of decimal numbers, or within `slack`; spaces do not count."""
    if NUMBER.sub("#", said).split() != NUMBER.sub("#", found).split():
        return False
    return all(
        one == other or ("." in one and abs(float(one) - float(other)) <= max(slack, 1.01 * _unit(one)))
        for one, other in zip(NUMBER.findall(said), NUMBER.findall(found), strict=True)
    )


def _unit(number: str) -> float:
    """What one more in the last digit would be worth."""
    digits, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("--check", action="store_true", help="change nothing, and fail where outputs differ")
    choice = parser.parse_args()
    found = run(choice.page)
    if choice.check:
        wrong = differences(choice.page, found)
        print("\n".join(wrong))
        sys.exit(bool(wrong))
    choice.page.write_text(found.text, encoding="utf-8")
    for name, figure in found.figures.items():
        file = choice.page.parent / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(figure, encoding="utf-8")


if __name__ == "__main__":
    main()
