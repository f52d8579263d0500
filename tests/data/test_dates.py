import datetime
import itertools
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from babel import Locale

from heedful.data import dates
from heedful.errors import DataError

# Closed under exchanging day, month and two-digit year, so that every possible confusion is among them.
CONFUSABLE = [
    datetime.date(2000 + year, month, day)
    for year, month, day in itertools.product((3, 4, 5, 11, 12), repeat=3)
]
ORDINARY = [datetime.date(1950 + step, 1 + step % 12, 1 + step % 28) for step in range(100)]

HAN = {"〇": 0, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    folder = tmp_path_factory.mktemp("dates")
    dates.write(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["test.tsv", "train.tsv", "validation.tsv"]
    return {
        path.stem: [row.split("\t") for row in path.read_text("utf-8").splitlines()]
        for path in folder.iterdir()
    }


@pytest.mark.parametrize(
    ("date", "language", "text"),
    [
        ("2019-03-03", "de", "Sonntag, der 3. März 2019"),
        ("2019-03-03", "en", "March 3rd, 2019"),
        ("2019-03-03", "en", "the 3rd of march 2019"),
        ("2019-03-11", "en", "March 11th, 2019"),
        ("2019-03-22", "en", "22nd March 2019"),
        ("2019-03-13", "en", "3/13/19"),
        ("2019-03-03", "fr", "3 mars 2019"),
        ("2019-03-03", "fr", "03/03/19"),
        ("2019-03-01", "fr", "le vendredi 1er mars 2019"),
        ("2019-03-08", "it", "l'8 marzo 2019"),
        ("2019-03-09", "it", "Il 9 marzo 2019"),
        ("2019-03-01", "pt", "1º de março de 2019"),
        ("2023-10-29", "tr", "29 EKİM 2023 PAZAR"),
        ("2021-11-20", "tr", "20 kasım 2021"),
        ("1987-11-23", "nl", "23-11-1987"),
        ("2019-03-03", "ru", "3 марта 2019 года"),
        ("2019-03-03", "pl", "3 marca 2019 r."),
        ("2019-03-03", "ja", "2019年3月3日日曜日"),
        ("2019-03-03", "ko", "2019년 3월 3일 일요일"),
        ("2019-03-03", "zh", "2019年3月3日"),
        ("2019-10-10", "zh", "二〇一九年十月十日"),
        ("2020-12-21", "zh", "二〇二〇年十二月二十一日星期一"),
        ("2019-03-03", "ar", "٣ مارس ٢٠١٩"),
    ],
)
def test_dates_are_written_as_people_write_them(date: str, language: str, text: str) -> None:
    assert text in dates.renderings(datetime.date.fromisoformat(date), language)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("03/04/2019", {"2019-04-03", "2019-03-04"}),  # French or American
        ("Sun, 03/04/2019", {"2019-04-03", "2019-03-04"}),
        ("٣/٤/٢٠١٩", {"2019-04-03", "2019-03-04"}),
        ("03/03/19", {"2019-03-03"}),
        ("23/11/1987", {"1987-11-23"}),
        ("11/23/1987", {"1987-11-23"}),
        ("03.04.2019", {"2019-04-03"}),  # points: the day comes first everywhere
        ("2019. 3. 4.", {"2019-03-04"}),
        ("23.11.19", {"2019-11-23", "2023-11-19"}),  # German or Korean
        ("23.11.87", {"1987-11-23"}),
        ("31.12.49", {"2049-12-31"}),
        ("31.12.50", {"1950-12-31"}),
        ("29.02.1900", set()),
        ("13/13/2019", set()),
        ("3 mars 2019", set()),
        ("99999/12/12", set()),
        ("", set()),
    ],
)
def test_readings(text: str, expected: set[str]) -> None:
    assert {date.isoformat() for date in dates.readings(text)} == expected


@pytest.mark.parametrize(
    "text", ["03/04/2019", "3/4/2019", "3/4/19", "03.04.19", "Wed, 03/04/2019", "٣/٤/٢٠١٩"]
)
def test_what_could_mean_two_dates_is_left_out(text: str) -> None:
    for date in (datetime.date(2019, 4, 3), datetime.date(2019, 3, 4), datetime.date(2003, 4, 19)):
        assert not any(text in dates.renderings(date, language) for language in dates.LANGUAGES)


def test_no_text_means_two_dates() -> None:
    meaning: dict[str, datetime.date] = {}
    for date, language in itertools.product(CONFUSABLE, dates.LANGUAGES):
        for text in dates.renderings(date, language):
            assert meaning.setdefault(text.casefold(), date) == date, text


@pytest.mark.parametrize("language", dates.LANGUAGES)
def test_another_reader_reads_the_same_dates(language: str) -> None:
    for date in ORDINARY + CONFUSABLE[::7]:
        texts = dates.renderings(date, language)
        assert len(texts) == len(set(texts)) >= 5
        for text in texts:
            assert _read(text, language) == {date}, text


@pytest.mark.parametrize("language", dates.LANGUAGES)
def test_text_is_plain(language: str) -> None:
    for text in itertools.chain.from_iterable(dates.renderings(date, language) for date in ORDINARY):
        assert text == text.strip() == unicodedata.normalize("NFC", text)
        assert "  " not in text
        assert not set(text) & set("{}\t\n")
        kinds = {unicodedata.category(character) for character in text if character != " "}
        assert not {kind for kind in kinds if kind[0] in "CZ"}, text


def test_examples_are_a_function_of_the_seed() -> None:
    first = dates.examples(5, 300)
    program = "from heedful.data import dates; print(ascii(dates.examples(5, 300)), end='')"
    # Another process hashes strings in another way, so that the order of a set would show.
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == ascii(first)
    assert dates.examples(6, 300) != first


def test_examples_use_dates_and_languages_evenly() -> None:
    some = ORDINARY[:21]
    found = dates.examples(1, 210, some)
    assert len({example.source for example in found}) == 210
    assert set(Counter(example.target for example in found).values()) <= set(range(7, 14))
    assert set(Counter(example.language for example in found).values()) <= set(range(12, 19))


def test_examples_that_cannot_be_found_are_refused() -> None:
    with pytest.raises(ValueError, match="1 dates have too few renderings for 1000 different examples"):
        dates.examples(1, 1000, [datetime.date(2019, 3, 3)])
    with pytest.raises(ValueError, match="0 dates"):
        dates.examples(1, 1, [])
    with pytest.raises(ValueError, match="1950 to 2049, not in 1949"):
        dates.renderings(datetime.date(1949, 12, 31), "en")


def test_every_date_is_in_one_split() -> None:
    parts = dates.split()
    assert [len(parts[name]) for name in ("validation", "test", "train")] == [1_000, 2_000, 33_525]
    assert sorted(itertools.chain.from_iterable(parts.values())) == list(dates.all_dates())


def test_the_files(corpus: dict[str, list[list[str]]]) -> None:
    assert {name: len(rows) for name, rows in corpus.items()} == dates.SIZES
    split = dates.split()
    meaning: dict[str, str] = {}
    for name, rows in corpus.items():
        assert {row[1] for row in rows} == {date.isoformat() for date in split[name]}, (
            "held-out dates are unseen"
        )
        for source, target, _ in rows:
            assert source not in meaning, "no source occurs twice"
            meaning[source] = target
        languages = Counter(language for _, _, language in rows)
        assert set(languages) == set(dates.LANGUAGES)
        assert max(languages.values()) <= 1.02 * min(languages.values()) + 2
    assert max(map(len, meaning)) <= 48, "sources stay short enough for a small model"


def test_another_writing_gives_the_same_file(corpus: dict[str, list[list[str]]], tmp_path: Path) -> None:
    again = dates.examples(dates.SEED + 1, dates.SIZES["test"], dates.split()["test"])
    assert [[example.source, example.target, example.language] for example in again] == corpus["test"]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here first")
    with pytest.raises(DataError, match=r"validation\.tsv cannot be written: .+ another folder"):
        dates.write(tmp_path / "file")


def test_a_failed_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    dates.write_rows(path, [("a", "b")])

    def rows():
        yield ("c", "d")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left on device"):
        dates.write_rows(path, rows())
    assert path.read_text() == "a\tb\n"
    assert list(tmp_path.iterdir()) == [path]


def _read(text: str, language: str) -> set[datetime.date]:
    """The dates that `text` can mean, found by another route: names looked up, numbers put in every order."""
    text = _fold(text, language)
    months, weekday = _names(language)
    text = weekday.sub("", text)  # "mar" is Tuesday here and March there
    month = next((months[name] for name in months if re.search(rf"(?<!\w){name}", text)), None)
    text = re.sub(r"[〇一二三四五六七八九十]+(?=[年月日])", lambda match: str(_han(match.group())), text)
    numbers = re.findall(r"\d+", text)
    if month is not None:
        day, year = numbers
        return {datetime.date(int(year), month, int(day))}
    found: set[datetime.date] = set()
    for order in ("dmy", "ymd", "mdy") if "/" in text else ("dmy", "ymd"):
        part = dict(zip(order, numbers, strict=True))
        year, digits = int(part["y"]), len(part["y"])
        # A year has two digits or four, a day or a month at most two; nobody writes 19/03/03 with the year first.
        if digits == 4 or (
            digits == 2 and max(map(len, numbers)) == 2 and (order, "/" in text) != ("ymd", True)
        ):
            year += 0 if digits == 4 else 2000 if year < 50 else 1900
            try:
                found.add(datetime.date(year, int(part["m"]), int(part["d"])))
            except ValueError:
                continue
    return found


@cache
def _names(language: str) -> tuple[dict[str, int], re.Pattern[str]]:
    """The months, longest name first, and a pattern for a weekday that comes first."""
    months: dict[str, int] = {}
    days: set[str] = set()
    for locale in map(Locale.parse, dates.LOCALES[language]):
        for width in ("wide", "abbreviated"):
            months |= {
                re.escape(_fold(name, language)): number
                for number, name in locale.months["format"][width].items()
            }
            days |= {_fold(name, language) for name in locale.days["format"][width].values()}
            days |= {_fold(name, language) for name in locale.days["stand-alone"][width].values()}
    if language in ("ja", "ko", "zh"):
        months.clear()  # their months are numbers
    longest_first = sorted(days, key=len, reverse=True)
    weekday = re.compile(rf"^((le|el) )?({'|'.join(map(re.escape, longest_first))})[ ,،]")
    return {name: months[name] for name in sorted(months, key=len, reverse=True)}, weekday


def _fold(text: str, language: str) -> str:
    if language == "tr":
        text = text.replace("İ", "i").replace("I", "ı")
    digits = {character: str(unicodedata.digit(character)) for character in text if character.isdecimal()}
    return "".join(digits.get(character, character) for character in text).casefold()


def _han(numeral: str) -> int:
    if len(numeral) == 4:
        return int("".join(str(HAN[character]) for character in numeral))
    tens, ten, ones = numeral.rpartition("十")
    return (10 * HAN.get(tens, 1) if ten else 0) + HAN.get(ones, 0)
