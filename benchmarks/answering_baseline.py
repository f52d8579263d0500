"""The other side of answering: no answer at all, and the sentence that is most like the question (TF-IDF).

    python benchmarks/answering_baseline.py subjqa fairytale_qa
    python benchmarks/answering_baseline.py xquad --fold 0

majority: the empty answer to every question, which is right where there is none.
TF-IDF: the sentence of the text whose words, weighed by how rare they are in the texts of the training data, have the
greatest cosine with the question's; all of it, or up to its first comma, whichever is better in validation. Where
questions without an answer are in the training data, none is given below the cosine that is best in validation.

Scores are those of heedful.evaluation.answers, as our models'.
"""

import argparse
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console

from heedful.data.reading import NAMES, reading_set
from heedful.data.squad import Question
from heedful.evaluation import table
from heedful.evaluation.answers import answer_scores, best, best_threshold, word_f1

_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_WORD = re.compile(r"\w+")
PARTS: dict[str, Callable[[str], str]] = {
    "sentence": lambda sentence: sentence,
    "clause": lambda sentence: sentence.split(",")[0],
}


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def sentences(text: str) -> list[str]:
    return [found.strip() for found in _SENTENCE.findall(text) if words(found)] or [text]


class TfIdf:
    """Cosines of bags of words: weight = log(texts / texts with the word), times its count."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.count = len(texts)
        self.with_word = Counter(word for text in texts for word in set(words(text)))

    def vector(self, text: str) -> dict[str, float]:
        counts = Counter(words(text))
        return {
            word: times * math.log((1 + self.count) / (1 + self.with_word[word]))
            for word, times in counts.items()
        }

    def cosine(self, one: str, other: str) -> float:
        first, second = self.vector(one), self.vector(other)
        product = sum(weight * second.get(word, 0.0) for word, weight in first.items())
        norms = math.hypot(*first.values()) * math.hypot(*second.values())
        return product / norms if norms else 0.0

    def answer(self, question: Question) -> tuple[str, float]:
        found = [(self.cosine(question.text, sentence), sentence) for sentence in sentences(question.context)]
        cosine, sentence = max(found, key=lambda each: each[0])
        return sentence, cosine


def true(questions: Sequence[Question]) -> list[list[str]]:
    return [[answer.text for answer in question.answers] for question in questions]


def tfidf(
    train: Sequence[Question], validation: Sequence[Question], test: Sequence[Question]
) -> tuple[list[str], str]:
    """The answers to `test`, and how they are made: the part and the threshold that are best in validation."""
    model = TfIdf(list({question.context for question in train}))
    unanswerable = any(not question.answers for question in train)
    tried: list[tuple[float, str, float]] = []
    for name, part in PARTS.items():
        found = [model.answer(question) for question in validation]
        answered = np.array(
            [
                best(word_f1, part(each), right)
                for (each, _), right in zip(found, true(validation), strict=True)
            ]
        )
        silent = np.array([best(word_f1, "", right) for right in true(validation)])
        threshold, value = -1.0, float(answered.mean())
        if unanswerable:
            threshold, value = best_threshold(np.array([cosine for _, cosine in found]), answered, silent)
        tried.append((value, name, threshold))
    _, name, threshold = max(tried)
    answers = [
        PARTS[name](sentence) if cosine > threshold else "" for sentence, cosine in map(model.answer, test)
    ]
    return answers, f"{name}, threshold {threshold:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--fold", type=int, default=0, help="of sets without a split")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    console = Console(highlight=False)
    for name in arguments.names:
        data = reading_set(name, arguments.fold, arguments.folds)
        for part, test in data.tests.items():
            found, how = tfidf(data.train, data.validation, test)
            systems = {
                "majority: no answer": ["" for _ in test],
                f"TF-IDF ({how})": found,
            }
            for system, answers in systems.items():
                shown = table(answer_scores(answers, true(test)))
                shown.title = f"{name}, {part}: {system}"
                console.print(shown)


if __name__ == "__main__":
    main()
