"""Values worked out by hand, by a second implementation, and by sacreBLEU's own public interface."""

import logging
import math
import random
from collections import Counter

import pytest
from sacrebleu import BLEU, CHRF, TER

from heedful.errors import RecipeError
from heedful.evaluation import METRICS, corpus_score, evaluate, metric_kind
from heedful.evaluation.metrics import _bleu_tokenizer, make_scorer
from heedful.evaluation.moses import compound_split_text, lowercased_text

# The example of sacreBLEU's README, its first reference.
REFERENCES = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
HYPOTHESES = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]


def multi_bleu(hypotheses: list[str], references: list[str]) -> float:
    """Papineni et al. 2002 as in multi-bleu.perl: words between spaces, up to 4-grams, nothing smoothed."""
    correct, total = [0] * 4, [0] * 4
    hypothesis_length = reference_length = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        ours, theirs = hypothesis.split(), reference.split()
        hypothesis_length += len(ours)
        reference_length += len(theirs)
        for n in range(1, 5):
            found = Counter(tuple(ours[i : i + n]) for i in range(len(ours) - n + 1))
            wanted = Counter(tuple(theirs[i : i + n]) for i in range(len(theirs) - n + 1))
            correct[n - 1] += (found & wanted).total()
            total[n - 1] += found.total()
    if 0 in correct:
        return 0.0
    brevity = min(1.0, math.exp(1 - reference_length / hypothesis_length))
    return 100 * brevity * math.prod(c / t for c, t in zip(correct, total, strict=True)) ** 0.25


def corpus(lines: int, seed: int) -> tuple[list[str], list[str]]:
    """References of random words, and hypotheses with a fifth of the words replaced and some dropped."""
    generator = random.Random(seed)
    words = ["Der", "Hund-Mann", "läuft", "über", "die", "Wiese", "d'Or", "„so“", "3,5", "Mr.", "und", "er"]
    references = [" ".join(generator.choices(words, k=generator.randint(6, 20))) + "." for _ in range(lines)]
    hypotheses = [
        " ".join(
            generator.choice(words) if generator.random() < 0.2 else word
            for word in reference.split()
            if generator.random() > 0.05
        )
        for reference in references
    ]
    return hypotheses, references


@pytest.mark.parametrize("name", METRICS)
def test_identical_text_is_perfect(name: str) -> None:
    _, references = corpus(20, seed=1)
    expected = 0.0 if metric_kind(name).lower_is_better else 100.0
    assert corpus_score(name, references, references, "de") == pytest.approx(expected, abs=1e-9)


def test_bleu_worked_out_by_hand() -> None:
    """Precisions 5/6, 3/5, 1/4 and 0/3; the last is smoothed to 1/(2 * 3) by sacreBLEU, not by multi-bleu."""
    hypothesis, reference = ["the cat sat on the mat"], ["the cat is on the mat"]
    expected = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** 0.25
    assert corpus_score("bleu", hypothesis, reference) == pytest.approx(expected, abs=1e-9)
    assert corpus_score("bleu-moses-lc", hypothesis, reference, "en") == 0.0


def test_brevity_penalty() -> None:
    hypothesis, reference = ["a b c d e"], ["a b c d e f g"]
    expected = 100 * math.exp(1 - 7 / 5)
    for name in ("bleu", "bleu-moses-lc", "bleu-compound-split"):
        assert corpus_score(name, hypothesis, reference, "en") == pytest.approx(expected, abs=1e-9)


def test_chrf_worked_out_by_hand() -> None:
    """Characters: precision and recall 1/2; pairs: 0/1; longer ones: none. Averages 1/4 and 1/4, F = 1/4."""
    assert corpus_score("chrf", ["ab"], ["ac"]) == pytest.approx(25.0, abs=1e-9)


@pytest.mark.parametrize(
    ("hypothesis", "edits"),
    [("a b c d", 0), ("a b x d", 1), ("a b d", 1), ("d a b c", 1), ("a b c d e f", 2)],
    ids=["equal", "substitution", "deletion", "shift", "two insertions"],
)
def test_ter_is_edits_per_word_of_the_reference(hypothesis: str, edits: int) -> None:
    assert corpus_score("ter", [hypothesis], ["a b c d"]) == pytest.approx(100 * edits / 4, abs=1e-9)


def test_exact_match_counts_lines_and_not_the_spaces_at_their_ends() -> None:
    hypotheses, references = ["2019-03-03", "2019-03-04 ", "x", "X"], ["2019-03-03", "2019-03-04", "y", "x"]
    assert corpus_score("exact-match", hypotheses, references) == 50.0


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU), ("chrf", CHRF), ("ter", TER)])
def test_equals_sacrebleu_with_its_signature(name: str, metric: type[BLEU] | type[CHRF] | type[TER]) -> None:
    for hypotheses, references in [(HYPOTHESES, REFERENCES), corpus(50, seed=2)]:
        theirs = metric()
        expected = theirs.corpus_score(hypotheses, [references]).score
        (score,) = evaluate(hypotheses, references, (name,), "de", confidence=False)
        assert score.value == expected
        assert score.signature == str(theirs.get_signature())


@pytest.mark.parametrize(
    ("name", "prepare"), [("bleu-moses-lc", lowercased_text), ("bleu-compound-split", compound_split_text)]
)
def test_moses_metrics_are_multi_bleu_on_their_text(name: str, prepare) -> None:
    hypotheses, references = corpus(50, seed=3)
    expected = multi_bleu(
        [prepare(line, "de") for line in hypotheses], [prepare(line, "de") for line in references]
    )
    assert 20 < expected < 90
    assert corpus_score(name, hypotheses, references, "de") == pytest.approx(expected, abs=1e-9)


def test_the_three_bleus_differ_and_say_so() -> None:
    hypotheses, references = corpus(50, seed=4)
    scores = evaluate(
        hypotheses, references, ("bleu", "bleu-moses-lc", "bleu-compound-split"), "de", confidence=False
    )
    assert len({score.value for score in scores}) == 3
    assert len({score.label for score in scores}) == 3
    signatures = [score.signature for score in scores]
    assert "case:mixed" in signatures[0]
    assert "tok:13a" in signatures[0]
    assert "case:lc" in signatures[1]
    assert "tok:norm-moses-de" in signatures[1]
    assert "case:mixed" in signatures[2]
    assert "tok:moses-atat-de" in signatures[2]
    assert all("smooth:none" in signature and "sacremoses:" in signature for signature in signatures[1:])


def test_case_counts_in_bleu_and_not_in_lowercased_bleu() -> None:
    hypotheses, references = ["der hund läuft über die wiese ."], ["Der Hund läuft über die Wiese."]
    assert corpus_score("bleu", hypotheses, references, "de") < 50
    assert corpus_score("bleu-moses-lc", hypotheses, references, "de") == pytest.approx(100.0)


def test_chinese_and_japanese_are_split_into_characters() -> None:
    assert "tok:zh" in evaluate(["我喜欢猫"], ["我喜欢狗"], ("bleu",), "zh-CN", confidence=False)[0].signature
    for code in ("zh_CN", "ZH", "ja"):
        assert corpus_score("ter", ["我喜欢猫"], ["我喜欢狗"], code) == pytest.approx(25.0)


def test_japanese_is_scored_with_or_without_mecab(caplog: pytest.LogCaptureFixture) -> None:
    _bleu_tokenizer.cache_clear()  # it says so once
    with caplog.at_level(logging.WARNING, logger="heedful"):
        (score,) = evaluate(["猫が好きです。"], ["犬が好きです。"], ("bleu",), "ja", confidence=False)
    assert "tok:ja-mecab" in score.signature or (
        "tok:char" in score.signature and "sacrebleu[ja]" in caplog.text
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("blue", "'bleu'"), ("BLEU", "'bleu'"), ("chrF2", "'chrf'"), ("bleu-moses", "'bleu-moses-lc'")],
)
def test_an_unknown_metric_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(RecipeError, match=rf"no metric '{name}'; did you mean {nearest}\?"):
        corpus_score(name, ["a"], ["a"])


def test_an_unknown_metric_near_to_none_is_refused_with_all_names() -> None:
    with pytest.raises(
        RecipeError, match="bleu, chrf, ter, exact-match, wer, per, cer, bleu-moses-lc, bleu-compound-split"
    ):
        metric_kind("accuracy of everything")


@pytest.mark.parametrize("name", ["bleu-moses-lc", "bleu-compound-split"])
def test_moses_metrics_need_a_language(name: str) -> None:
    with pytest.raises(RecipeError, match="needs the target language"):
        make_scorer(name, None)
