"""Figures: what heads people name, which numbers are drawn, and files that papers can take."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from torch.testing import assert_close

from heedful.errors import DataError, HeedfulError
from heedful.tasks import save
from heedful.viewing.head_names import find, name_of
from heedful.viewing.looking import look
from heedful.viewing.scene import Token
from heedful.viewing.weights_shown import shown
from tests.viewing import every_kind


@pytest.fixture(scope="module")
def figures():
    pytest.importorskip("matplotlib", reason="matplotlib is missing: heedful[figures]")
    from heedful.viewing import figure

    return figure


@pytest.fixture(scope="module")
def scene():
    return look(every_kind.translator(), "A man rides a brown horse.", "Ein Mann $reitet$ שלום 男 <b>&")


@pytest.mark.parametrize(
    ("name", "module", "heads"),
    [
        ("decoder.3.cross", "decoder.layers.2.cross_attention", ["mean"]),
        ("decoder.3.cross:2", "decoder.layers.2.cross_attention", [1]),
        ("cross.1:mean", "decoder.layers.0.cross_attention", ["mean"]),
        ("decoder.2", "decoder.layers.1.self_attention", ["mean"]),
        ("Decoder.2.self:1", "decoder.layers.1.self_attention", [0]),
        ("encoder.1:all", "encoder.layers.0.self_attention", [0, 1]),
        ("decoder.layers.2.cross_attention:1", "decoder.layers.2.cross_attention", [0]),
    ],
)
def test_heads_are_named_as_people_count(scene, name, module, heads):
    found = find(scene, name)
    assert [one.map.name for one in found] == [module] * len(heads)
    assert [one.head for one in found] == heads
    for one in scene.maps:
        assert find(scene, name_of(one))[0].map is one


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("decoder.4.cross", "no attention 'decoder.4.cross' in this model; the nearest is decoder.3.cross"),
        ("nonsense", "decoder.1.cross to decoder.3.cross (2 heads each)"),
        ("decoder.3.cross:0", "no head 0 in decoder.3.cross: it has heads 1 to 2"),
        ("decoder.3.cross:9", "no head 9"),
        ("decoder.3.cross:x", "stands the number of a head from 1, or mean, or all"),
    ],
)
def test_a_wrong_name_tells_those_that_there_are(scene, name, said):
    with pytest.raises(HeedfulError) as raised:
        find(scene, name)
    assert said in str(raised.value)


def test_the_weights_shown_are_those_of_the_record(scene):
    (one,) = find(scene, "decoder.3.cross:2")
    panel = shown(scene, one)
    assert_close(panel.weights, one.map.record.weights()[0, 1].double().numpy())
    assert panel.queries == tuple(token.text for token in scene.axes["target"].tokens)
    mean = shown(scene, find(scene, "decoder.3.cross")[0])
    assert_close(mean.weights, one.map.record.weights()[0].mean(0).double().numpy())
    assert not panel.notes


def test_words_are_sums_of_columns_and_means_of_rows(scene):
    (one,) = find(scene, "encoder.1:1")
    panel, tokens = shown(scene, one, words=True), scene.axes["source"].tokens
    weights = one.map.record.weights()[0, 0].double().numpy()
    assert panel.keys == ("A", "man", "rides", "a", "brown", "horse.", "</s>")
    inside = [[n for n, token in enumerate(tokens) if token.word == word] for word in range(6)]
    assert panel.weights[5, 4] == pytest.approx(weights[np.ix_(inside[5], inside[4])].sum(1).mean())
    assert panel.weights.sum(1) == pytest.approx(np.ones(len(panel.queries)), abs=1e-5)
    assert panel.notes


def test_columns_that_are_taken_out_leave_rows_that_sum_to_one_and_are_told(scene):
    (one,) = find(scene, "decoder.1.cross:1")
    panel = shown(scene, one, without=["special"])
    weights = one.map.record.weights()[0, 0, :, :-1].double().numpy()
    assert_close(panel.weights, weights / weights.sum(1, keepdims=True))
    assert panel.notes == ("without special tokens, the rest renormalised",)
    first = shown(scene, one, without=["special", "first"])
    assert len(first.keys) == len(panel.keys) - 1
    assert first.weights.sum(1) == pytest.approx(np.ones(len(first.queries)), abs=1e-5)


def test_of_a_long_text_cells_are_shown():
    scene = look(every_kind.language_model(positions="rotary", layers=1), "horse " * 600)
    (one,) = find(scene, "decoder.1:1")
    panel = shown(scene, one)
    length = len(scene.axes["text"].tokens)
    assert 2048 < length < 4096
    assert panel.cell == (4, 4)
    assert panel.weights.shape == (-(-length // 4),) * 2
    corner = one.map.record.head(0).weights(slice(200, 204), slice(100, 104)).mean()
    assert panel.weights[50, 25] == pytest.approx(float(corner), abs=1e-6)
    # What cells cannot be shown with is refused, not left out in silence.
    with pytest.raises(
        DataError, match="with words and columns taken out: give a text of at most 1,024 tokens"
    ):
        shown(scene, one, words=True, without=["special"])
    with pytest.raises(DataError, match="with columns taken out"):
        shown(scene, one, without=["first"])


def test_an_svg_has_its_tokens_as_text_and_is_the_same_twice(figures, scene, tmp_path):
    for name in ("one.svg", "two.svg"):
        figures.save(figures.draw(scene, ["decoder.3.cross:2", "encoder.1"]), tmp_path / name)
    content = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert content == (tmp_path / "two.svg").read_text(encoding="utf-8")
    texts = [each.text for each in ElementTree.fromstring(content).iter("{http://www.w3.org/2000/svg}text")]
    for token in scene.axes["target"].tokens:
        assert token.text in texts or token.text.isspace()
    assert "decoder 3 cross · head 2" in texts
    assert "encoder 1 · mean of 2 heads" in texts
    # The least and the greatest weight have the ends of the page's scale.
    fills = set(re.findall(r"fill: (#[0-9a-f]{6})", content))
    assert {"#fbfaf7", "#1d1259"} <= fills


def test_a_size_is_kept_and_all_formats_are_written(figures, scene, tmp_path):
    drawn = figures.draw(scene, ["encoder.1:1"], size=(3, 2))
    for kind, begins in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        figures.save(drawn, tmp_path / f"fig.{kind}", tight=False)
        assert (tmp_path / f"fig.{kind}").read_bytes().startswith(begins)
    svg = (tmp_path / "fig.svg").read_text(encoding="utf-8")
    assert 'width="216pt" height="144pt"' in svg  # 72 points are an inch
    content = (tmp_path / "fig.png").read_bytes()
    assert (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")) == (900, 600)
    with pytest.raises(DataError, match=r"\.svg, \.pdf or \.png"):
        figures.save(drawn, tmp_path / "fig.jpeg")


def test_all_heads_of_a_group(figures, scene, tmp_path):
    drawn = figures.overview(scene, "cross")
    assert len(drawn.axes) == 3 * 2
    figures.save(drawn, tmp_path / "all.pdf")
    with pytest.raises(HeedfulError, match="it has encoder, decoder, cross"):
        figures.overview(scene, "memory")


def test_a_character_that_no_font_has_is_told_and_svg_needs_none(figures, scene, tmp_path, monkeypatch):
    drawn = figures.draw(scene, ["decoder.1.cross"])
    monkeypatch.setattr(figures, "_known", lambda file: frozenset(map(chr, range(256))) | {"·", "…"})
    figures._families.cache_clear()
    with pytest.raises(HeedfulError, match=r"No font on this machine has .*␣.*\.svg"):
        figures.save(drawn, tmp_path / "fig.png")
    assert not (tmp_path / "fig.png").exists()
    figures.save(drawn, tmp_path / "fig.svg")
    figures._families.cache_clear()


def _pictured(scene, figures, text):
    """A figure in which a token is called so."""
    tokens = (Token(text), *scene.axes["source"].tokens[1:])
    axis = replace(scene.axes["source"], tokens=tokens)
    return figures.draw(replace(scene, axes={**scene.axes, "source": axis}), ["encoder.1:1"])


def test_a_font_that_was_installed_later_is_found(figures, scene, tmp_path, monkeypatch):
    from matplotlib import font_manager

    # matplotlib keeps a list of fonts, and does not look again.
    kept = [font for font in font_manager.fontManager.ttflist if font.name.startswith("DejaVu Sans")]
    added = []
    monkeypatch.setattr(font_manager.fontManager, "ttflist", kept)
    monkeypatch.setattr(font_manager.fontManager, "addfont", added.append)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["/later/Font.ttf", kept[0].fname])
    _forget(figures)
    with pytest.raises(HeedfulError, match=r"No font on this machine has 猫.*Noto Sans CJK.*Symbola"):
        figures.save(_pictured(scene, figures, "猫"), tmp_path / "fig.png")
    assert added == ["/later/Font.ttf"]
    _forget(figures)


def test_marks_that_join_signs_need_no_font_and_others_are_told_by_number(figures, scene):
    svg = figures.to_svg(_pictured(scene, figures, "👩\u200d👧"))
    assert "👩\u200d👧" in svg
    assert "U+200F" in figures.to_svg(_pictured(scene, figures, "\u200f"))


def test_a_matplotlib_that_cannot_write_from_the_right_is_told(figures, scene, tmp_path, monkeypatch):
    import matplotlib

    drawn = _pictured(scene, figures, "שלום")  # DejaVu Sans has it
    figures.save(drawn, tmp_path / "fig.svg")
    monkeypatch.setattr(matplotlib, "__version_info__", (3, 10, 0))
    with pytest.raises(HeedfulError, match=r"from the left.*\.svg, or pip install 'matplotlib>=3\.11'"):
        figures.save(drawn, tmp_path / "fig.pdf")
    monkeypatch.setattr(matplotlib, "__version_info__", (3, 11, 0))
    figures.save(drawn, tmp_path / "fig.pdf")


def _forget(figures):
    for kept in (figures._fonts, figures._families, figures._installed_since):
        kept.cache_clear()


@pytest.fixture
def heedful(capsys):
    """Run a command in this process: its status and what it said of errors."""
    from heedful.cli import main

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["figure", *map(str, arguments), "--threads", "1", "--device", "cpu"])
        said = capsys.readouterr()
        run.said = said.out
        return ended.value.code, said.err

    return run


def test_the_command_draws_and_overwrites_nothing(figures, heedful, tmp_path):
    translator, out = every_kind.translator(), tmp_path / "fig.svg"
    tokenizers = translator.source_tokenizer, translator.target_tokenizer
    model = save(tmp_path / "de", translator.model, translator.model.settings, *tokenizers)
    source = tmp_path / "source.txt"
    source.write_text("A man rides.\n", encoding="utf-8")
    asked = model, "--source", source, "--save", out
    told = f"text: the file {source}, 12 characters\n"
    drawn = heedful(*asked, "--target", "Ein Mann.", "--head", "cross.3:2", "--words")
    assert drawn == (0, f"{told}text: 'Ein Mann.'\n")
    assert heedful.said == f"{out}: {round(out.stat().st_size / 1e3)} kB\n"
    content = out.read_text(encoding="utf-8")
    assert "decoder 3 cross · head 2" in content
    assert ">rides.<" in content
    assert ">Mann.<" in content
    assert heedful(*asked, "--all", "encoder", "--overwrite") == (0, told)
    for arguments, said in (
        ((*asked, "--head", "cross.3"), "is there already"),
        ((*asked[:-1], tmp_path / "fig.gif", "--head", "cross.3"), ".svg, .pdf or .png"),
        ((*asked, "--head", "cross.9", "--overwrite"), "There are: encoder.1 to encoder.2"),
        (asked, "one of the two"),
        ((*asked, "--all", "encoder", "--words"), "--all draws heads small"),
        ((*asked, "--all", "encoder", "--without-special"), "--head encoder.1:all"),
        ((model, "--save", out, "--head", "cross.3"), "give it with --source"),
        ((*asked, "--head", "cross.3", "--width", "3"), "a --width and a --height"),
    ):
        status, error = heedful(*arguments)
        assert status == 2
        assert said in error
    assert out.read_text(encoding="utf-8") != content
