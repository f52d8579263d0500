"""Pages of the documentation that make their own numbers and figures: run again, they say the same."""

import importlib
import importlib.util
import re
import sys

import pytest

# What a page says, and how many figures it has.
PAGES = {
    "attention.md": ("sum of the weights of local-p: 0.570", 6),
    "bert.md": ("109,482,240 numbers, the published 110M", 0),
    "bytenet.md": ("2 sets see 125", 1),
    "classification.md": ("good True", 0),
    "convs2s.md": ("12 attentions; the last: decoder.blocks.11.attention", 1),
    "hugging-face.md": ("['<s>', 'to', 'Ġbe', 'Ġor', 'Ġno'] True", 0),
    "memory-networks.md": ("looked most at: John went to the kitchen.", 1),
    "language-models.md": ("reads [14, 15, 16, 17] and predicts [17, 18]", 0),
    "looking-inside.md": ("the second layer aligns better than the first: True", 0),
    "luong.md": ("input feeding False: 1 calls with 16 queries each", 1),
    "snail.md": ("", 0),  # its blocks assert, and print nothing
    "transduction.md": ("otroška -> o t r ɔ ʃ k a", 0),
    "vectors.md": ("he is a sluggard who stares all day     david is a couch potato who yawns all day", 1),
    "tagging-and-answering.md": ("['O', 'B-PER', 'I-PER', 'B-LOC']", 0),
    "rnnsearch.md": ("looks most at: ['x5', 'x4', 'x3', 'x2', 'x1']", 1),
}


@pytest.fixture(scope="module")
def runner(repository):
    """docs/run.py, which is a script and not of a package."""
    spec = importlib.util.spec_from_file_location("run_pages", repository / "docs" / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_pages"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["run_pages"]


# The first is run by test_documentation.py; the other reads a run of hours.
OTHERS = {"first-model.md", "speed.md"}


def test_every_page_with_code_is_here(repository):
    with_code = {
        page.name for page in (repository / "docs").glob("*.md") if "```python" in page.read_text("utf-8")
    }
    assert with_code == set(PAGES) | OTHERS


@pytest.mark.parametrize("page", PAGES)
def test_the_page_says_what_it_gives(page, repository, runner):
    file = repository / "docs" / page
    found = runner.run(file)
    assert runner.differences(file, found) == []
    said, figures = PAGES[page]
    assert said in found.text
    assert len(found.figures) == figures
    for name, figure in found.figures.items():
        assert len(figure) < 100_000, name


def test_only_the_last_digit_of_decimal_numbers_may_differ(runner):
    same = runner.same
    assert same("weights tensor([0.003, 0.338])", "weights tensor([0.004,  0.338])")
    assert same("off by 2.0e-06", "off by 2.1e-06")
    assert not same("answer 225.7", "answer 225.9")
    assert not same("places [7, 6]", "places [7, 5]")
    assert not same("100%", "99%")
    assert not same("the same: True", "the same: False")
    assert not same("0.3", "0.3 0.3")
    assert not same("answer 0.5", "answer -0.5")
    assert same('x="1.00" fill-opacity="0.50"', 'x="1.00" fill-opacity="0.54"', 0.06)
    assert not same('x="1.00" fill-opacity="0.50"', 'x="1.00" fill-opacity="0.60"', 0.06)


def test_another_number_another_figure_and_a_missing_place_are_found(tmp_path, runner):
    page, figure = tmp_path / "page.md", tmp_path / "figure.svg"
    page.write_text(
        "```python\nprint(1 / 4)\npicture = '<svg>3</svg>'\n```\n\n```text\n0.75\n```\n\n![A](figure.svg)\n"
    )
    figure.write_text("<svg>2</svg>")
    found = runner.run(page)
    assert found.figures == {"figure.svg": "<svg>3</svg>"}
    assert runner.differences(page, found) == [
        "- 0.75\n+ 0.25",
        "figure.svg is not the figure that this run gave.",
    ]
    page.write_text(found.text)
    figure.write_text(found.figures["figure.svg"])
    assert runner.differences(page, runner.run(page)) == []
    page.write_text("Text.\n\n```python\nprint(1)\n```\n")
    with pytest.raises(SystemExit, match="line 4: what this block makes has no place"):
        runner.run(page)


@pytest.mark.parametrize("page", PAGES)
def test_names_links_and_sections_of_the_page_exist(page, repository):
    text = (repository / "docs" / page).read_text(encoding="utf-8")
    for name in set(re.findall(r"`(heedful(?:\.\w+)+)`", text)):
        thing, *parts = name.split(".")
        thing = importlib.import_module(thing)
        for part in parts:
            if not hasattr(thing, part):
                importlib.import_module(f"{thing.__name__}.{part}")
            thing = getattr(thing, part)
    sections = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in sections
        else:
            assert (repository / "docs" / target).exists(), target
