"""`heedful recombine`: a file of pairs in, another one out."""

from pathlib import Path

WORDS = "otrok\to t r ɔ k\ndroška\td r ɔ ʃ k a\nkrokar\tk r ɔ k a r\n"


def test_new_pairs_are_written_beside_the_given_ones(heedful, tmp_path: Path):
    given, made = tmp_path / "train.tsv", tmp_path / "more.tsv"
    given.write_text(WORDS, encoding="utf-8")
    ran = heedful("recombine", given, "--count", 100, "--output", made)
    assert ran.status == 0, ran.err
    assert "no more than" in ran.err
    lines = made.read_text(encoding="utf-8").splitlines()
    assert "drok\td r ɔ k" in lines
    assert not set(lines) & set(WORDS.splitlines())
    assert heedful("recombine", given, "--count", 100).out.splitlines() == lines
    assert "more.tsv is there already" in heedful("recombine", given, "--output", made).err


def test_a_file_without_a_tab_is_named_with_its_line(heedful, tmp_path: Path):
    (tmp_path / "train.tsv").write_text("word\n", encoding="utf-8")
    ran = heedful("recombine", tmp_path / "train.tsv")
    assert ran.status == 2
    assert "train.tsv, line 1" in ran.err
