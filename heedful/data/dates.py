"""The demo corpus: dates as people write them, in fourteen languages, and the same dates in ISO 8601.

    Sonntag, der 3. März 2019  ->  2019-03-03
    3 mars 2019                ->  2019-03-03
    2019年3月3日日曜日          ->  2019-03-03
    ٣ مارس ٢٠١٩                ->  2019-03-03

It needs no download: month names, weekdays and formats are CLDR's, through `babel`; what CLDR leaves out
(articles, ordinals, 二〇一九年) stands below as patterns in CLDR's own notation. Anybody can see whether an
answer is right.

What can be relied on:

- The date follows from the text alone. Where day and month could change places ("03/04/2019"), or a two-digit
  year could be a day, the text is left out: see `readings`.
- Two-digit years mean 1950 to 2049, and no date lies outside those hundred years, all of them Gregorian.
- No text stands for two dates, and the dates of validation and test occur in train in no form, so that the
  model is asked about dates that it has never seen. Dates are spread evenly, and so are languages.
- Equal seeds give equal files under one version of babel. Another CLDR may abbreviate a month differently.
- Text is NFC with plain spaces: CLDR's no-break and thin spaces (U+00A0, U+2009, U+202F) become U+0020, and
  its invisible direction marks (U+200E, U+200F, U+061C) are dropped. Nobody types them. Arabic is in logical
  order: day first.

The idea of the task is the date translation of Andrew Ng's course on sequence models (one language, 10,000
pairs).
"""

import datetime
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babel import Locale
from babel.dates import parse_pattern

from heedful.durable import write_text
from heedful.errors import DataError

VERSION = 1  # counts up whenever the same seed and babel would give other files
SEED = 2017
SIZES = {"train": 50_000, "validation": 1_000, "test": 2_000}
FIRST_YEAR, LAST_YEAR = 1950, 2049

# The CLDR locales whose formats make up each language.
LOCALES = {
    "ar": ("ar_EG",),
    "de": ("de",),
    "en": ("en_US", "en_GB"),
    "es": ("es",),
    "fr": ("fr",),
    "it": ("it",),
    "ja": ("ja",),
    "ko": ("ko",),
    "nl": ("nl",),
    "pl": ("pl",),
    "pt": ("pt",),
    "ru": ("ru",),
    "tr": ("tr",),
    "zh": ("zh",),
}
LANGUAGES = tuple(LOCALES)

FORMATS = ("short", "medium", "long", "full")
SKELETONS = ("yMd", "yMEd", "yMMMd", "yMMMEd", "yMMMMd", "yMMMMEd", "yMMMMEEEEd")

# What people write and CLDR does not, in CLDR's notation (UTS 35: y year, M month, d day, E weekday, 'quoted'
# text). {th} is the ending of an ordinal, {il} the Italian article; a leading {han} writes the numbers in
# Chinese characters, {latn} in ASCII digits where the locale has its own.
PATTERNS = {
    "ar": ("{latn}d MMMM y", "{latn}EEEE، d MMMM y", "EEEE d MMMM y"),
    "de": (
        "'der' d. MMMM y",
        "'am' d. MMMM y",
        "EEEE, 'der' d. MMMM y",
        "EEEE, 'den' d. MMMM y",
        "d.M.yy",
    ),
    "en": (
        "MMMM d'{th}', y",
        "EEEE, MMMM d'{th}', y",
        "d'{th}' MMMM y",
        "'the' d'{th}' 'of' MMMM y",
        "d MMMM, y",
    ),
    "es": ("'el' d 'de' MMMM 'de' y", "'el' EEEE d 'de' MMMM 'de' y", "EEEE d 'de' MMMM 'de' y", "dd/MM/y"),
    "fr": ("d'{th}' MMMM y", "'le' d'{th}' MMMM y", "'le' EEEE d'{th}' MMMM y", "dd/MM/yy"),
    "it": ("'{il}'d'{th}' MMMM y", "EEEE d'{th}' MMMM y", "d/M/y"),
    "ja": ("y年M月d日 EEEE", "y年MM月dd日", "y.M.d", "y-MM-dd"),
    "ko": ("y년 M월 d일(E)", "y년 MM월 dd일", "y.M.d.", "y-MM-dd"),
    "nl": ("'op' d MMMM y", "EEEE, d MMMM y", "dd-MM-y"),
    "pl": ("d MMMM y 'r.'", "d MMMM y 'roku'", "'dnia' d MMMM y 'r.'", "EEEE, d MMMM y 'r.'"),
    "pt": ("d'{th}' 'de' MMMM 'de' y", "EEEE, d'{th}' 'de' MMMM 'de' y", "d/M/y"),
    "ru": ("d MMMM y", "d MMMM y 'года'", "EEEE, d MMMM y 'года'", "dd.MM.yy"),
    "tr": ("d MMMM y, EEEE", "dd MMMM y", "d.M.y"),
    "zh": ("y年M月d日 EEEE", "{han}y年M月d日", "{han}y年M月d日EEEE", "y.M.d", "y-MM-dd"),
}

# Letter case: mostly as the language has it, sometimes as people type.
CASES = ("written",) * 8 + ("capitalised", "lower", "lower", "upper")

ARABIC_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
HAN_DIGITS = "〇一二三四五六七八九"
# Three numbers between equal separators. \d matches the digits of every script, and int() reads them.
NUMERIC_DATE = re.compile(r"(?<!\d)(\d{1,4})\s*([/.-])\s*(\d{1,2})\s*\2\s*(\d{1,4})(?!\d)")

PLAIN = {ord(space): " " for space in "\u00a0\u2009\u202f"} | {
    ord(mark): None for mark in "\u200e\u200f\u061c"
}


@dataclass(frozen=True)
class Example:
    """One pair: `source` as `language` writes the date, `target` as YYYY-MM-DD."""

    source: str
    target: str
    language: str


@dataclass(frozen=True)
class Style:
    """One way in which `language` writes a date: a CLDR pattern, a locale for the names, a kind of digits."""

    language: str
    locale: str
    pattern: str
    digits: str  # "latn", "arab" or "han"

    def write(self, date: datetime.date) -> str:
        """The text for `date`, normalised."""
        text = parse_pattern(self.pattern).apply(date, _locale(self.locale))
        if "{" in text:
            article = "l'" if date.day in (8, 11) else "il "
            text = text.replace("{th}", _ordinal(date.day, self.language)).replace("{il}", article)
        if self.digits == "arab":
            text = text.translate(ARABIC_DIGITS)
        elif self.digits == "han":
            text = re.sub(r"\d+", lambda number: _han(number.group()), text)
        return normalise(text)


def normalise(text: str) -> str:
    """NFC, with plain spaces and without direction marks."""
    return unicodedata.normalize("NFC", text.translate(PLAIN))


@cache
def styles(language: str) -> tuple[Style, ...]:
    """Every way in which `language` writes a date: CLDR's (formats, and the skeletons it has), then ours."""
    found: dict[tuple[str, str], Style] = {}

    def add(name: str, pattern: str) -> None:
        pattern = normalise(pattern)
        digits = _locale(name).default_numbering_system
        if pattern.startswith("{"):
            digits, pattern = pattern[1:].split("}", 1)
        found.setdefault((pattern, digits), Style(language, name, pattern, digits))

    for name in LOCALES[language]:
        locale = _locale(name)
        for form in FORMATS:
            add(name, locale.date_formats[form].pattern)
        for skeleton in SKELETONS:
            if skeleton in locale.datetime_skeletons:
                add(name, locale.datetime_skeletons[skeleton].pattern)
    for pattern in PATTERNS[language]:
        add(LOCALES[language][0], pattern)
    return tuple(found.values())


def readings(text: str) -> set[datetime.date]:
    """Every date that the numbers of `text` could mean to a reader of some language of the corpus.

    What decides is the separator and the orders in which the languages use it: "23/11/1987" has one reading
    (there is no month 23), "03/04/2019" two, "03/03/2019" one, "23.11.19" two (Korean puts the year first). A
    weekday is no evidence. Text without a date in numbers has no readings.
    """
    match = NUMERIC_DATE.search(text)
    if match is None:
        return set()
    numbers = (match[1], match[3], match[4])
    found: set[datetime.date] = set()
    for fields in _orders().get(match[2], ()):
        numeral = dict(zip(fields, numbers, strict=True))
        year = numeral["yy"] if "yy" in fields else numeral["y"]
        if len(year) != (2 if "yy" in fields else 4):
            continue
        full_year = _full_year(int(year)) if "yy" in fields else int(year)
        try:
            found.add(datetime.date(full_year, int(numeral["M"]), int(numeral["d"])))
        except ValueError:
            continue  # no such day or month: nobody reads it in this order
    return found


def renderings(date: datetime.date, language: str) -> list[str]:
    """Every text in `language` that means `date` beyond doubt, letter case included; no text twice.

    Raises `ValueError` for a date outside the hundred years of the corpus.
    """
    if not FIRST_YEAR <= date.year <= LAST_YEAR:
        raise ValueError(f"the dates of the corpus lie in {FIRST_YEAR} to {LAST_YEAR}, not in {date.year}")
    texts = [style.write(date) for style in styles(language)]
    cased = [
        _recase(text, case, language) for text in texts if _decidable(text) for case in dict.fromkeys(CASES)
    ]
    return list(dict.fromkeys(cased))


def examples(seed: int, count: int, dates: Sequence[datetime.date] | None = None) -> list[Example]:
    """`count` examples with `count` different sources, drawn under `seed` from `dates` (default: all).

    Dates and languages are taken in turn, so that each occurs as often as any other; the style is drawn.
    Raises `ValueError` when `dates` have too few renderings for so many examples.
    """
    draw = random.Random(seed)
    dates = all_dates() if dates is None else dates
    found: dict[str, Example] = {}
    for turn in range(10 * count if dates else 0):
        if len(found) == count:
            break
        # Each round of the dates begins with another language, so that a date meets all languages in time.
        around, place = divmod(turn, len(dates))
        date, language = dates[place], LANGUAGES[(turn + around) % len(LANGUAGES)]
        text = draw.choice(styles(language)).write(date)
        while not _decidable(text):
            text = draw.choice(styles(language)).write(date)
        text = _recase(text, draw.choice(CASES), language)
        found.setdefault(text, Example(text, date.isoformat(), language))
    if len(found) < count:
        raise ValueError(f"{len(dates)} dates have too few renderings for {count} different examples")
    return list(found.values())


@cache
def all_dates() -> tuple[datetime.date, ...]:
    """Every day from the first of January 1950 to the last of December 2049: 36,525 of them."""
    first, last = datetime.date(FIRST_YEAR, 1, 1).toordinal(), datetime.date(LAST_YEAR, 12, 31).toordinal()
    return tuple(datetime.date.fromordinal(day) for day in range(first, last + 1))


def split() -> dict[str, list[datetime.date]]:
    """The dates of train, validation and test: each date in one of the three."""
    dates = list(all_dates())
    random.Random(SEED).shuffle(dates)
    held_out = SIZES["validation"] + SIZES["test"]
    return {
        "validation": dates[: SIZES["validation"]],
        "test": dates[SIZES["validation"] : held_out],
        "train": dates[held_out:],
    }


def write(folder: str | Path) -> None:
    """Write `train.tsv`, `validation.tsv` and `test.tsv` (source TAB target TAB language) into `folder`.

    Raises `DataError` if the files cannot be written; a file is there whole or not at all.
    """
    for number, (name, dates) in enumerate(split().items()):
        rows = examples(SEED + number, SIZES[name], dates)
        write_rows(Path(folder) / f"{name}.tsv", ((row.source, row.target, row.language) for row in rows))


def write_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write `rows` as tab-separated UTF-8 lines; `path` appears when all is on the disk, not before."""
    try:
        write_text(path, "".join("\t".join(row) + "\n" for row in rows))
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}. Free the disk or choose another folder."
        ) from error


@cache
def _locale(name: str) -> Locale:
    return Locale.parse(name)


@cache
def _orders() -> dict[str, set[tuple[str, ...]]]:
    """For each separator, the orders of fields, such as `("d", "M", "yy")`, that some language uses."""
    numeric = re.compile(r"(y+|M{1,2}|d+)\s*([/.-])\s*(y+|M{1,2}|d+)\s*\2\s*(y+|M{1,2}|d+)")
    orders: dict[str, set[tuple[str, ...]]] = {}
    for language in LANGUAGES:
        for style in styles(language):
            if match := numeric.search(style.pattern):
                fields = (match[1], match[3], match[4])
                order = tuple(field if field == "yy" else field[0] for field in fields)
                orders.setdefault(match[2], set()).add(order)
    return orders


def _decidable(text: str) -> bool:
    return len(readings(text)) <= 1


def _full_year(year: int) -> int:
    """19 is 2019 and 87 is 1987: the only such year from 1950 to 2049."""
    return FIRST_YEAR + (year - FIRST_YEAR) % 100


def _ordinal(day: int, language: str) -> str:
    """What follows the numeral in an ordinal; French, Italian and Portuguese have one for the first only."""
    if language == "en":
        return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return {"fr": "er", "it": "º", "pt": "º"}[language] if day == 1 else ""


def _han(number: str) -> str:
    """Years digit by digit (2019: 二〇一九), days and months as numbers (23: 二十三, 10: 十)."""
    if len(number) == 4:
        return "".join(HAN_DIGITS[int(digit)] for digit in number)
    tens, ones = divmod(int(number), 10)
    return (
        (HAN_DIGITS[tens] if tens > 1 else "") + ("十" if tens else "") + (HAN_DIGITS[ones] if ones else "")
    )


def _recase(text: str, case: str, language: str) -> str:
    """`text` in another letter case; the Turkish i keeps its dot."""
    if case == "capitalised":
        return _recase(text[:1], "upper", language) + text[1:]
    if language == "tr" and case != "written":
        text = text.translate(str.maketrans("iı", "İI") if case == "upper" else str.maketrans("İI", "iı"))
    return text.upper() if case == "upper" else text.lower() if case == "lower" else text
