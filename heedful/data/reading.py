"""Questions about texts: SubjQA, XQuAD and FairytaleQA, by name.

    reading_set("subjqa")                    # all domains; "subjqa-grocery" is one
    reading_set("xquad", fold=0, count=5)    # there is no training data: the first of five folds

SubjQA (Bjerva et al. 2020): questions on reviews, many without an answer; four domains of six. Several people answered
a question about one review; most of them say whether it has an answer, and all of their spans are true ones.
XQuAD (Artetxe, Ruder and Yogatama 2020): 1,190 questions of SQuAD's development set, translated; made for tests, here
also cut into folds of whole articles' neighbours. FairytaleQA (Xu et al. 2022): of its questions those whose answer
stands in the section of the story that they are about.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from heedful.data.corpus import read_lines
from heedful.data.fetch import Remote, find, ways_out
from heedful.data.prepare import compressed
from heedful.data.squad import Question, folds, question, read_squad
from heedful.errors import DataError

_SUBJQA_URL = (
    "https://raw.githubusercontent.com/megagonlabs/SubjQA/6ea88c77802798b4a09a8218bd6bbde5b9cf4278/SubjQA"
)
_SUBJQA = {  # SHA-256 of the texts of train, dev and test
    "electronics": (
        "ca2ecac934d2c4ac0dbf4294197bc21aac81a826f366c7317ed44492d58226aa",
        "5bd1bce209f04e9086eb977dedc335a4467b07069594e294a58b94bbf953c807",
        "4629e2f6f081487b8b0a1dbbe41ba86230ba6d1bd93169d7cb277cd24fed62f9",
    ),
    "grocery": (
        "7c2844510192f6ab2a21abf5b6c151707f92651a0a384062fba0a9a5fe346289",
        "c62a05e0b63e2f83455d09cf1cb7be1c1f110c11521f7516c45ae80939505afe",
        "c2d7aa5d7f873a5bb8608ba3b92d51350cd786f2bf328858eee58e56b8b38371",
    ),
    "restaurants": (
        "7506913c9242ac9b82b104ba4ea5a4e43f07bb1cc80b89b0e2dd67b5d90a2049",
        "bf4d2a835097c0bd91897b80748282ea7e37e19544145b377badcf90f61127fe",
        "529facdc981457f3689c909addb9171eba68bde922b9485f40d3e38b370e92fa",
    ),
    "tripadvisor": (
        "b9fecc36541759f2a0fee609e2a0f1d77837a592d552fc18daede90c03f6d060",
        "031439cc10c0e5e3aed82fb0432b8e659eb9ac33bbf0520b992b58580631f718",
        "f60b8a59ee04a2c934ecb6dc45d3c34cea0091ea205847e13e1f6ee364e6504d",
    ),
}
_NO_ANSWER = "ANSWERNOTFOUND"
_XQUAD_URL = (
    "https://raw.githubusercontent.com/google-deepmind/xquad/60cac411649156efb6aab9dd4c9cde787a2c0345"
)
_XQUAD = {
    "en": "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29",
    "de": "990b5d746746ed65ed4702ea5f35f99ffa4e2f1c390c07d003642acd937916f9",
    "es": "dcbae93ec3a9f4b9e78fd834a171d6f96c1a875e10e15b7530b7e4ef4971e37e",
}
_FAIRYTALE = {
    "train": (
        "f3ba92a9ae545bb5748b8eb3b9c3e1ff26c7249136a0b2a95020869368602805",
        "dc08e4332d52b9837082be251150e94e7add313fd077870a006bd0b6be44d32d",
    ),
    "val": (
        "5f0ee73e249df5fbe98889b5959b64695c8f4902f10dbb3555743da666aefdf5",
        "76379fb5914aa863025aa6e17d551d03c6e94deb1dc09c624db1f2ee9d3abdc9",
    ),
    "test": (
        "db909f92ee1f7eed8590122422802e181afd46a163b6c5efb9bec629c5d85c4c",
        "eb914aa76adaaa5e3dd22c2d5718b2473bc76924e78601f5e1a8a2c8c9786bf7",
    ),
}
NAMES = (
    "subjqa",
    *(f"subjqa-{domain}" for domain in _SUBJQA),
    "xquad",
    *(f"xquad-{language}" for language in _XQUAD if language != "en"),
    "fairytale_qa",
)
WITHOUT_SPLIT = tuple(name for name in NAMES if name.startswith("xquad"))


class Reading(NamedTuple):
    """Questions to learn from, to choose by, and to be scored on; tests by name."""

    train: list[Question]
    validation: list[Question]
    tests: dict[str, list[Question]]


def reading_set(name: str, fold: int = 0, count: int = 5, progress: bool = True) -> Reading:
    """Give a set of NAMES, fetching what is missing.

    fold: of those without a split, which of the `count` folds is the test, from 0

    Raises DataError for files that cannot be had, or are not those of the source.
    """
    kind, _, part = name.partition("-")
    if kind == "xquad":
        language = part or "en"
        path = f"xquad/xquad.{language}.json"
        remote = Remote(path, f"{_XQUAD_URL}/xquad.{language}.json", _XQUAD[language])
        train, validation, test = folds(read_squad(compressed(remote, progress)), fold, count)
        return Reading(train, validation, {"test": test})
    if kind == "fairytale_qa":
        splits = {split: list(_fairytale(split)) for split in _FAIRYTALE}
        return Reading(splits["train"], splits["val"], {"test": splits["test"]})
    domains = [part] if part else list(_SUBJQA)
    train, validation, test = (
        {domain: _subjqa(domain, place, progress) for domain in domains} for place in range(3)
    )
    whole = [each for questions in test.values() for each in questions]
    tests = {"test": whole, **test} if len(domains) > 1 else {"test": whole}
    return Reading(
        [each for questions in train.values() for each in questions],
        [each for questions in validation.values() for each in questions],
        tests,
    )


def _subjqa(domain: str, place: int, progress: bool) -> list[Question]:
    split = ("train", "dev", "test")[place]
    path = f"subjqa/{domain}.{split}.csv"
    remote = Remote(path, f"{_SUBJQA_URL}/{domain}/splits/{split}.csv", _SUBJQA[domain][place])
    return list(parse_subjqa(compressed(remote, progress)))


def parse_subjqa(path: Path) -> Iterator[Question]:
    """Give the questions of a file of SubjQA, the rows of those who answered one put together. Raises DataError."""
    # Fields hold line feeds; the reader counts its own lines.
    reader = csv.DictReader(io.StringIO("\n".join(read_lines(path)) + "\n", newline=""))
    rows: dict[str, list[Mapping[str, str]]] = {}
    places: dict[str, str] = {}
    for row in reader:
        try:
            key = row["q_review_id"]
            _span(row)
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path}, line {reader.line_num} is not of SubjQA's format: {error}.") from error
        rows.setdefault(key, []).append(row)
        places.setdefault(key, f"{path}, line {reader.line_num}")
    for key, alike in rows.items():
        spans = [span for row in alike if (span := _span(row)) is not None]
        answers = spans if 2 * len(spans) >= len(alike) else []
        review = alike[0]["review"].removesuffix(_NO_ANSWER).rstrip()
        yield question(alike[0]["question"], review, answers, key, places[key])


def _span(row: Mapping[str, str]) -> tuple[str, int] | None:
    """What one person answered, as it stands in the review, and where; None for no answer."""
    text, review = row["human_ans_spans"], row["review"]
    if text == _NO_ANSWER:
        return None
    first, end = (int(place) for place in row["human_ans_indices"].strip("()").split(","))
    # The text of a span was tokenised ("do n't", "$ 750"); what stands at its place was not.
    there = review[first:end]
    return (there if _letters(there) == _letters(text) else text), first


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _fairytale(split: str) -> Iterator[Question]:
    stories, asked = (
        _mirrored(f"fairytale_qa/{split}.{what}.jsonl.gz", checksum)
        for what, checksum in zip(("stories", "questions"), _FAIRYTALE[split], strict=True)
    )
    sections = {
        story["story"]: {str(number): text for number, text in story["sections"]} for story in _rows(stories)
    }
    for number, row in enumerate(_rows(asked), start=1):
        context = "\n".join(
            sections[row["story"]].get(part.strip(), "") for part in row["cor_section"].split(",")
        ).strip()
        answers = {row[f"answer{place}"]: None for place in range(1, 7) if row.get(f"answer{place}")}
        made = question(
            row["question"], context, [(answer, None) for answer in answers], place=f"{asked}, line {number}"
        )
        if row.get("ex-or-im1") == "explicit" and made.found:
            # Other people's answers in their own words are right as well, but nothing to point at.
            yield made._replace(id=f"{row['story']}/{row['question_id']}", odd=())


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    return (json.loads(line) for line in read_lines(path) if line.strip())


def _mirrored(path: str, checksum: str) -> Path:
    found = find(path, checksum, of_content=True)
    if found is None:
        raise DataError(
            f"{path} is not on this machine, and is published in another form only: {ways_out(path)}"
        )
    return found
