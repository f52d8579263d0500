"""What tokens look like: bytes of characters, and what would not be seen; in Python and on the page alike."""

import json

import pytest

from heedful.models import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.tasks.language_modelling_folder import LanguageModel
from heedful.text import Tokenizer, TokenizerSettings
from heedful.viewing.head_names import find
from heedful.viewing.letters import isolated, readable, together, visible
from heedful.viewing.looking import look
from heedful.viewing.looks import tokens
from heedful.viewing.looks.text import listed
from heedful.viewing.pairing import paired, units
from heedful.viewing.scene import Axis, Token
from heedful.viewing.weights_shown import shown
from tests.viewing import every_kind
from tests.viewing.page_files import needs_node, run

TEXT = "猫は🐈\u200d⬛ é ok"
# Bytes that make characters when they stand together, and bytes that do not.
PARTS = [
    ["<0xE7><0x8C>", "<0xAB>は"],
    ["<0xF0>", "<0x9F>", "<0x90>", "<0x88>", "!"],
    ["<0xC3>", "x", "<0xA9>"],
    ["<0x9F><0xC3><0xA9>", "<0xE2><0x80>"],
    ["<0xEF><0xBB><0xBF>", "<0xED><0xA0><0x80>"],
    ["<0x41>", "<0xE7>"],
]
JOINED = ["猫は", "🐈!", "<0xC3>x<0xA9>", "<0x9F>é<0xE2><0x80>", "\ufeff<0xED><0xA0><0x80>", "<0x41><0xE7>"]


@pytest.fixture(scope="module")
def bytewise() -> LanguageModel:
    """A language model that reads bytes, and few pieces of several."""
    settings = TokenizerSettings(kind="byte-bpe", vocabulary_size=270, min_frequency=1, byte_fallback=False)
    tokenizer = Tokenizer.train(["ok the ok the"], settings)
    sizes = DecoderOnlySettings(**every_kind.SIZES, layers=1, maximum_length=64)
    model = every_kind.stirred(DecoderOnlyTransformer(sizes, len(tokenizer), len(tokenizer)))
    return LanguageModel(model, tokenizer, 32, True)


def test_bytes_of_no_whole_character_are_named():
    assert readable("猫は".encode()) == "猫は"
    assert readable("猫は".encode()[1:5]) == "<0x8C><0xAB><0xE3><0x81>"
    assert readable(b"a\xff\xfeb") == "a<0xFF><0xFE>b"
    # What a text itself spells so is one character, and no byte that nobody knows.
    assert readable("\ufffd".encode()) == "\ufffd"


def test_tokens_of_a_character_look_different_and_spell_the_text(bytewise: LanguageModel):
    read = [token for token in look(bytewise, TEXT).axes["text"].tokens if not token.special]
    assert not any("\ufffd" in token.text for token in read)
    assert {"<0xF0>", "<0x9F>", "<0x90>", "<0x88>", "<0xC3>", "<0xA9>", "ok"} <= {
        token.text for token in read
    }
    assert together(token.text for token in read).replace(" ", "") == TEXT.replace(" ", "")
    begins = [tokens.begins_word(bytewise.tokenizer, token) for token in bytewise.tokenizer.encode("ok the")]
    assert begins == [False, True]


def test_words_of_a_figure_and_of_a_comparison_have_their_characters(bytewise: LanguageModel):
    scene = look(bytewise, "猫は🐈\u200d⬛")
    panel = shown(scene, find(scene, "decoder.1:1")[0], words=True)
    words = ["猫は", "🐈\u200d⬛"]
    assert [text for text in panel.keys if text != "<s>"] == words
    whole = Axis("text", "text", tuple(Token(word, place) for place, word in enumerate(words)))
    cut = Axis("text", "text", tuple(token for token in scene.axes["text"].tokens if not token.special))
    assert paired(units(cut, words=True), units(whole, words=True)).tolist() == [[0, 0], [1, 1]]


def test_bytes_that_stand_together_are_characters():
    assert [together(parts) for parts in PARTS] == JOINED


@needs_node
def test_the_page_puts_bytes_together_in_the_same_way():
    found = run(f"""
    import {{ joined, words }} from "PAGE/tokens.js";
    import {{ wordsOf }} from "PAGE/word_links.js";
    const axis = {{ text: ["<0xE7><0x8C>", "<0xAB>", "ok"], word: [0, 0, 1] }};
    console.log(JSON.stringify([
      {json.dumps(PARTS)}.map(joined),
      words(axis).map(({{ text }}) => text),
      wordsOf(axis).map(({{ text }}) => text),
    ]));
    """)
    assert found == [JOINED, ["猫", "ok"], ["猫", "ok"]]


UNSEEN = {
    " ": "␣",
    "a\u200fb": "aU+200Fb",
    "\u200d": "U+200D",
    "\ufe0f": "U+FE0F",
    "\u061c": "U+061C",
    "\u3000": "U+3000",
    "\u00a0": "U+00A0",
    "👩\u200d👩\u200d👧": "👩\u200d👩\u200d👧",
    "می\u200cخواهم": "می\u200cخواهم",
    "a\n": "a⏎",
}


def test_what_would_not_be_seen_is_shown_by_its_number():
    assert {text: visible(text) for text in UNSEEN} == UNSEEN


@needs_node
def test_the_page_shows_the_same():
    script = f"""
    import {{ shown }} from "PAGE/tokens.js";
    console.log(JSON.stringify({json.dumps(list(UNSEEN))}.map(shown)));
    """
    assert run(script) == list(UNSEEN.values())


def test_guesses_from_the_right_do_not_turn_their_numbers_around():
    assert isolated("ok <0xE7>") == "ok <0xE7>"
    assert [isolated(text) for text in ("ש", "م", "٣")] == ["\u2068ש\u2069", "\u2068م\u2069", "\u2068٣\u2069"]
    assert listed("Next", ["ה", "ok", "\x10"], [0.5, 0.25, 0.125]) == (
        "Next: \u2068ה\u2069 50%, ok 25%, U+0010 12%"
    )


@needs_node
def test_labels_beside_each_other_have_room():
    found = run("""
    import { letters } from "PAGE/labels.js";
    console.log(JSON.stringify([8, 11, 12, 14.5, 30].map(letters)));
    """)
    assert found == [10, 10, 11, 13.5, 13.5]
