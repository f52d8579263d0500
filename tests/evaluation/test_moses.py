"""The Moses text is the text of the Perl scripts: Multi30k's own tokenised files are the oracle."""

import gzip
from pathlib import Path

import pytest

from heedful.evaluation.moses import compound_split_text, lowercased_text
from heedful.text.moses import normalize_punctuation, tokenize


@pytest.fixture(scope="module")
def multi30k(mirror: Path) -> Path:
    folder = mirror / "multi30k"
    if not folder.is_dir():
        pytest.skip(f"needs the data set multi30k in {mirror}")
    return folder


def read_lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]


class TestMulti30k:
    @staticmethod
    def differing_lines(multi30k: Path, split: str, language: str) -> list[tuple[str, str]]:
        raw = read_lines(multi30k / "raw" / f"{split}.{language}.gz")
        published = read_lines(multi30k / "tok" / f"{split}.lc.norm.tok.{language}.gz")
        ours = [lowercased_text(line, language) for line in raw]
        return [pair for pair in zip(ours, published, strict=True) if pair[0] != pair[1]]

    @pytest.mark.parametrize("language", ["de", "fr", "en"])
    @pytest.mark.parametrize("split", ["val", "test_2016_flickr", "test_2017_flickr"])
    def test_equals_the_published_tokenised_file_line_for_line(
        self, multi30k: Path, split: str, language: str
    ) -> None:
        assert self.differing_lines(multi30k, split, language) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("language", ["de", "fr", "en"])
    def test_equals_the_published_training_file_line_for_line(self, multi30k: Path, language: str) -> None:
        assert self.differing_lines(multi30k, "train", language) == []

    def test_reference_has_the_length_that_the_published_run_reports(self, multi30k: Path) -> None:
        """`ref len 12103` of the Transformer-Tiny at 41.02 BLEU (Wu et al. 2021, code repository)."""
        raw = read_lines(multi30k / "raw" / "test_2016_flickr.de.gz")
        assert sum(len(lowercased_text(line, "de").split()) for line in raw) == 12103


@pytest.mark.parametrize(
    ("raw", "language", "expected"),
    [
        ("Ein Hund, der bellt.", "de", "ein hund , der bellt ."),
        ("It's the dog's ball.", "en", "it &apos;s the dog &apos;s ball ."),
        ("L'Été d'Anne", "fr", "l&apos; été d&apos; anne"),
        # an apostrophe between two ASCII letters stays one; beside another letter Perl makes it a quote
        ("Qu’on voie un coup d’œil.", "fr", "qu&apos; on voie un coup d &quot; œil ."),
        # in German the full stop leaves the quotation, at the end of the line too; in English it enters it
        ("Er rief: „Komm.“", "de", "er rief : &quot; komm &quot; ."),
        ('He called "come".', "en", "he called &quot; come . &quot;"),
        # the rule holds for every language but English and Czech
        ('Disse "vieni."', "it", "disse &quot; vieni &quot; ."),
        ('Řekl "pojď."', "cs", "řekl &quot; pojď . &quot;"),
        ("", "de", ""),
    ],
)
def test_lowercased_text(raw: str, language: str, expected: str) -> None:
    assert lowercased_text(raw, language) == expected


def test_normalizing_one_language_leaves_the_others_alone() -> None:
    before = normalize_punctuation('"komm."', "cs")
    normalize_punctuation('"komm."', "it")
    assert normalize_punctuation('"komm."', "cs") == before == '"komm."'


def test_tokens_keep_case() -> None:
    assert tokenize("Guten Tag, Welt!", "de") == "Guten Tag , Welt !"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("rich-text format", "rich ##AT##-##AT## text format"),
        ("Das Nord-Süd-Gefälle.", "Das Nord ##AT##-##AT## Süd ##AT##-##AT## Gefälle ."),
        ("x-y-z", "x ##AT##-##AT## y-z"),  # a match eats the letter after it, in Perl as here
        ("Hin - und zurück", "Hin - und zurück"),
        ("Ost- und West", "Ost- und West"),
        ("ein ”Wort”", "ein &quot; Wort &quot;"),
    ],
)
def test_compound_split_text(raw: str, expected: str) -> None:
    assert compound_split_text(raw, "de") == expected
