"""The check of texts with labels before any training: how many of each label, what is there twice, what overlaps."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from heedful.data.findings import Section
from heedful.data.labelled import Labelled
from heedful.errors import DataError

_SHOWN = 12  # labels that a table shows


@dataclass
class LabelledSection(Section):
    """What was found in one part: how many examples of each label, their length in characters, what is wrong."""

    examples: int
    labels: dict[str, int]
    characters: int
    longest: int


def check_labelled(
    parts: Mapping[str, Sequence[Labelled]], numbers: bool = False
) -> tuple[list[LabelledSection], tuple[str, ...]]:
    """Look at all parts, "train" among them; give what was found, and the labels of train in order.

    numbers: labels are numbers; there is then no list of labels

    Raises DataError for a label that train does not have, one that is no number, fewer than two labels, and parts that
    are pairs in one place and single texts in another.
    """
    train = parts["train"]
    labels = () if numbers else tuple(sorted({example.label for example in train}, key=_order))
    if not numbers and len(labels) < 2:
        raise DataError(
            f"All {len(train):,} training examples have the label {train[0].label!r}: there is nothing to tell apart. "
            "Is data.train.label the right column?"
        )
    seen_in_train = {_key(example) for example in train}
    pairs = train[0].second is not None
    sections: list[LabelledSection] = []
    for part, examples in parts.items():
        counts = Counter(example.label for example in examples)
        section = LabelledSection(
            part,
            len(examples),
            {} if numbers else {label: counts[label] for label in sorted(counts, key=_order)},
            sum(len(example.text) for example in examples),
            max((len(example.text) for example in examples), default=0),
        )
        sections.append(section)
        before: dict[tuple[str, str | None], str] = {}
        for example in examples:
            if (example.second is not None) != pairs:
                raise DataError(f"{example.place}: pairs of texts and single texts cannot be mixed.")
            if numbers:
                number(example)
            elif example.label not in labels:
                raise DataError(
                    f"{example.place} has the label {example.label!r}, which no training example has; the labels are "
                    f"{', '.join(labels[:_SHOWN])}{', ...' if len(labels) > _SHOWN else ''}."
                )
            key = _key(example)
            if key in before:
                same = before[key] == example.label
                finding = "there twice" if same else "there with another label too"
                section.note(finding, example.place)
            before.setdefault(key, example.label)
            if part != "train" and key in seen_in_train:
                section.note("in train too", example.place)
    return sections, labels


def labelled_table(sections: Sequence[LabelledSection]) -> Table:
    """What was found, for people."""
    table = Table("texts", "examples", "characters", "labels and findings", title="Texts with labels")
    table.columns[1].justify = table.columns[2].justify = "right"
    table.columns[3].overflow = "fold"
    for section in sections:
        common = sorted(section.labels.items(), key=lambda item: -item[1])
        share = [f"{label} {100 * count / section.examples:.1f}%" for label, count in common[:_SHOWN]]
        told = [", ".join(share) + (", ..." if len(common) > _SHOWN else "")] if share else []
        told += section.told()
        mean = round(section.characters / max(section.examples, 1))
        table.add_row(
            section.part, f"{section.examples:,}", f"{mean:,}, at most {section.longest:,}", "\n".join(told)
        )
    return table


def number(example: Labelled) -> float:
    """The label as a number. Raises DataError for one that is not finite, or no number."""
    try:
        value = float(example.label)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise DataError(
            f"{example.place}: the label {example.label!r} is no number, and data.labels is 'numbers'."
        )
    return value


def _key(example: Labelled) -> tuple[str, str | None]:
    return " ".join(example.text.split()), example.second and " ".join(example.second.split())


def _order(label: str) -> tuple[float, str]:
    """Numbers by their value, before words by their letters."""
    return (float(label), label) if label.isdecimal() else (float("inf"), label)
