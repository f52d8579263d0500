"""CoNLL's format: what is read, every mistake by file and line, folds, and what is odd."""

import gzip

import pytest

from heedful.data.conll import (
    AFTER_OTHER,
    AFTER_OUTSIDE,
    OVERLAP,
    UNSEEN_TYPE,
    Tagged,
    check_tagged,
    folds,
    parse_conll,
    read_conll,
    to_lines,
)
from heedful.errors import DataError

TEXT = """-DOCSTART- -X- O O

EU NNP B-NP B-ORG
rejects VBZ B-VP O


Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""


def parse(text):
    return list(
        parse_conll((f"line {number}", line) for number, line in enumerate(text.split("\n"), start=1))
    )


def test_the_first_column_is_the_token_and_the_last_the_tag(tmp_path):
    path = tmp_path / "ner.conll.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    first, second = read_conll(path)
    assert first[:2] == (("EU", "rejects"), ("B-ORG", "O"))
    assert (second.tokens, second.tags) == (("Peter", "Blackburn"), ("B-PER", "I-PER"))
    assert (first.place, second.place) == (f"{path}, line 3", f"{path}, line 7")


def test_at_tabs_a_token_may_hold_a_space():
    (sentence,) = parse("New York\tB-LOC\n \tO\n#\tO")
    assert sentence.tokens == ("New York", " ", "#")


def test_a_space_that_does_not_break_is_part_of_the_token():
    (sentence,) = parse("10\u00a0000  B-QUANTITY\nkm I-QUANTITY")
    assert sentence.tokens == ("10\u00a0000", "km")


def test_iob1_becomes_iob2_and_is_not_odd():
    (sentence,) = parse("The I-ORG\nMad I-ORG\nCapsule B-ORG\n. O")
    assert sentence.tags == ("B-ORG", "I-ORG", "B-ORG", "O")
    assert not sentence.odd


def test_wrong_tags_are_read_as_conlleval_reads_them_and_told_by_line():
    first, second = parse("a B-PER\nb O\nc I-PER\n\nd B-PER\ne I-LOC")
    assert first.tags == ("B-PER", "O", "B-PER")
    assert first.odd == (("line 3", AFTER_OUTSIDE),)
    assert second.tags == ("B-PER", "B-LOC")
    assert second.odd == (("line 6", AFTER_OTHER),)
    (section,) = check_tagged({"train": [first, second]})
    assert section.findings[AFTER_OUTSIDE].places == ["line 3"]
    assert section.spans == {"LOC": 1, "PER": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb", r"line 2: 'b' has no tag"),
        ("a O\nb PER", r"line 2: 'PER' is not a tag"),
        ("a O\nb\tB-", r"line 2: 'B-' is not a tag"),
    ],
)
def test_mistakes_are_told_by_line(text, message):
    with pytest.raises(DataError, match=message):
        parse(text)


def test_a_file_without_sentences_is_refused(tmp_path):
    path = tmp_path / "empty.conll"
    path.write_text("\n\n")
    with pytest.raises(DataError, match="no tagged sentence"):
        read_conll(path)


def test_what_is_written_is_read_again():
    sentences = parse("New York\tB-LOC\n\tO\n\nx\tI-PER")
    again = parse("".join(map(to_lines, sentences)))
    assert [each[:2] for each in again] == [each[:2] for each in sentences]


def test_folds_are_runs_of_neighbours_of_every_file():
    one, two = ([Tagged((f"{name}{at}",), ("O",)) for at in range(10)] for name in "ab")
    names = [
        [[sentence.tokens[0] for sentence in part] for part in folds([one, two], number, 5)]
        for number in (0, 4)
    ]
    assert names[0][2] == ["a0", "a1", "b0", "b1"]
    assert names[0][1] == ["a2", "a3", "b2", "b3"]
    assert len(names[0][0]) == 12
    assert names[1][2] == ["a8", "a9", "b8", "b9"]
    assert names[1][1] == ["a0", "a1", "b0", "b1"]
    for fold in range(5):
        parts = folds([one, two], fold, 5)
        assert sorted(each.tokens for part in parts for each in part) == sorted(
            each.tokens for each in one + two
        )


def test_folds_keep_documents_whole():
    text = "".join(f"-DOCSTART- O\n\na{at} O\n\nb{at} O\n\n" for at in range(10))
    cut = folds([parse(text)], 1, 5)
    assert [sentence.tokens[0] for sentence in cut.test] == ["a2", "b2", "a3", "b3"]


def test_the_check_compares_with_train():
    train, test = parse("a B-PER\n\nb O"), parse("a B-PER\n\nc B-LOC")
    sections = check_tagged({"train": train, "test": test})
    assert set(sections[1].findings) == {OVERLAP, UNSEEN_TYPE}


def test_the_named_sets_are_what_their_papers_say(mirror, monkeypatch):
    from heedful.data.entities import tagged_set

    monkeypatch.setenv("HEEDFUL_DATA", str(mirror))
    wnut = tagged_set("wnut17")
    assert [len(part) for part in wnut] == [3394, 1009, 1287]
    # As many as the tags with B- in the files.
    assert [sum(len(sentence.spans) for sentence in part) for part in wnut] == [1975, 836, 1079]
    wikigold = tagged_set("wikigold", 3)
    assert sum(map(len, wikigold)) == 1696  # and 145 articles begin
    documents = [{sentence.document for sentence in part} for part in wikigold]
    assert len(set.union(*documents)) == sum(map(len, documents)) == 145
