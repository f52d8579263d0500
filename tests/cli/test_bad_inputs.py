"""What heedful says to each bad input: docs/bad-inputs.md is the table, and true."""

import re
from pathlib import Path

import pytest

from heedful.training import checkpoint
from tests.cli.bad_inputs import BAD_INPUTS

PAGE = "docs/bad-inputs.md"
# What other libraries say inside our sentences may change with their versions.
FOREIGN = (
    r"(?<=column 10: ).*(?=; this is not TOML)",
    r"\(Error while deserializing[^)]*\)",
    r"(?<=cut short: ).*",
    r"(?<=is not JSON: ).*",
)


def table(page: Path) -> dict[str, str]:
    """What is wrong -> what heedful says."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: said.replace("\\|", "|").removeprefix("`` ").removesuffix(" ``") for name, said in rows[2:]}


def plain(said: str, folder: Path) -> str:
    """A message as the table has it: without the folder of the test, and what is not ours to promise."""
    said = said.replace(str(folder), "FOLDER")
    for foreign in FOREIGN:
        said = re.sub(foreign, "...", said)
    return said


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_a_bad_input_gets_the_message_of_the_table_and_nothing_is_overwritten(
    bad, folder, trained, heedful, repository, monkeypatch
):
    monkeypatch.setenv("TRAINED", str(trained))
    monkeypatch.setenv("HEEDFUL_DATA", "")
    if bad.prepare is not None:
        bad.prepare(folder)
    if (folder / "full").exists():

        def full(*_arguments, **_keywords):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint, "save_file", full)
    command = [str(trained) if argument == "TRAINED" else argument for argument in bad.command]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ran = heedful(*command)
    assert ran.status == 2
    assert "Traceback" not in ran.err
    said = [line.removeprefix("error: ") for line in ran.err.splitlines() if line.startswith("error: ")]
    assert plain("\n".join(said), folder) == table(repository / PAGE)[bad.name]
    assert {path: path.read_bytes() for path in before} == before


def test_the_table_and_the_cases_are_the_same_and_many(repository):
    assert list(table(repository / PAGE)) == [bad.name for bad in BAD_INPUTS]
    assert len(BAD_INPUTS) >= 25
