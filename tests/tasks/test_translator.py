"""Raw text in, raw text out: nothing depends on batches, nothing is lost, nothing is cut silently."""

import json

import pytest
import torch

from heedful import decoding
from heedful.attention import observe
from heedful.decoding import SearchSettings
from heedful.errors import DataError, HeedfulError
from heedful.models import DecoderOnlySettings
from heedful.tasks import AlignmentSettings, Remarks, Translator
from heedful.tasks import translator as module
from heedful.text import END, START, Tokenizer, TokenizerSettings
from tests.decoding.small_models import Recurrent
from tests.tasks.small_model import ENGLISH, GERMAN, SETTINGS, random_model

TEXTS = [*ENGLISH, "", "A dog.", "  \t ", "the old snow reads a man near the horse", "Red", *ENGLISH[::-1]]
LONG = " ".join(ENGLISH)
ALIGNED = AlignmentSettings()


def test_the_answers_differ_and_are_those_of_the_search(translator):
    answers = translator.answers(ENGLISH)
    assert len({answer.text for answer in answers}) >= 4
    for text, answer in zip(ENGLISH, answers, strict=True):
        ids = translator.source_tokenizer.encode(text)
        ((best,),) = decoding.search(translator.model, torch.tensor([[*ids, END]]), translator.search)
        (candidate,) = answer.candidates
        assert candidate.text == answer.text == translator.target_tokenizer.decode(best.tokens)
        assert candidate.pieces == tuple(translator.target_tokenizer.pieces(best.tokens))
        assert candidate.score == pytest.approx(best.score, abs=1e-4)
        assert candidate.log_probability == pytest.approx(best.log_probability, abs=1e-4)
        assert answer.source_pieces == tuple(translator.source_tokenizer.pieces(ids))
        assert (answer.source, answer.parts) == (text, 1)


@pytest.mark.parametrize("tokens", [1, 17, 60, 4096])
@pytest.mark.parametrize("method", ["beam", "sample"])
def test_the_size_of_batches_does_not_matter(translator, tokens, method):
    search = SearchSettings(method=method, beam=2, n_best=2, maximum_length_add=4, seed=3)
    one_by_one = [
        [candidate.text for candidate in answer.candidates]
        for answer in translator.answers([*TEXTS, LONG], search=search, batch_tokens=1)
    ]
    answers = translator.answers([*TEXTS, LONG], search=search, batch_tokens=tokens)
    assert [[candidate.text for candidate in answer.candidates] for answer in answers] == one_by_one


def test_one_text_is_not_taken_for_its_letters(translator):
    with pytest.raises(TypeError, match="translate takes a list of texts, and got one"):
        translator.translate("a b")


def test_the_order_is_kept(translator):
    forwards = translator.translate(TEXTS, batch_tokens=50)
    assert translator.translate(TEXTS[::-1], batch_tokens=50) == forwards[::-1]
    assert [answer.number for answer in translator.answers(TEXTS)] == list(range(1, len(TEXTS) + 1))


@pytest.mark.parametrize("text", ["", " ", " \t\u00a0\u3000"])
def test_an_empty_line_stays_an_empty_line(translator, text):
    (answer,) = translator.answers([text], alignment=ALIGNED, search=SearchSettings(n_best=2))
    assert (answer.text, answer.line, answer.candidates, answer.parts) == ("", "", (), 0)
    assert answer.finished
    assert translator.translate([]) == []


def test_a_stream_gives_the_same_answers_from_any_window(translator):
    search = SearchSettings(method="sample", n_best=2, maximum_length_add=4)
    prefixes = ["Ein" if number % 3 else "" for number in range(len(TEXTS))]
    expected = translator.answers(TEXTS, prefixes=prefixes, search=search)
    lines = (f"{text}\n" for text in TEXTS)
    streamed = list(translator.stream(lines, prefixes=iter(prefixes), window=4, search=search))
    texts = [[candidate.text for candidate in answer.candidates] for answer in streamed]
    assert texts == [[candidate.text for candidate in answer.candidates] for answer in expected]
    assert [answer.number for answer in streamed] == list(range(1, len(TEXTS) + 1))


def test_a_stream_reads_no_further_than_its_window(translator):
    read: list[str] = []

    def lines():
        for text in TEXTS:
            read.append(text)
            yield text

    answers = translator.stream(lines(), window=2)
    next(answers)
    assert len(read) == 2
    list(answers)
    assert read == TEXTS


def test_samples_of_equal_lines_differ(translator):
    search = SearchSettings(method="sample", maximum_length_add=4)
    assert len(set(translator.translate([ENGLISH[0]] * 5, search=search))) > 1


def test_progress_counts_every_line_once(translator):
    told: list[int] = []
    translator.translate([*TEXTS, LONG], batch_tokens=40, progress=told.append)
    assert sum(told) == len(TEXTS) + 1
    assert len(told) > 3


# Long lines


def test_a_long_line_is_translated_in_pieces_that_are_joined(translator):
    assert len(translator.source_tokenizer.encode(LONG)) >= translator.model.maximum_length
    first, second = " ".join(ENGLISH[:2]), " ".join(ENGLISH[2:])
    answers = translator.answers(
        ["Red", LONG, "Dogs"], search=SearchSettings(beam=3, n_best=2, maximum_length_add=4)
    )
    joined = answers[1]
    assert [answer.parts for answer in answers][::2] == [1, 1]
    assert joined.parts > 1
    # Parted at ends of sentences, and all of it is read:
    assert joined.source_pieces == tuple(
        translator.source_tokenizer.pieces(
            [token for text in ENGLISH for token in translator.source_tokenizer.encode(text)]
        )
    )
    assert len(joined.candidates) == 2
    assert first + " " + second == joined.source
    # The same as translating the pieces by hand.
    pieces = module.parts_of(
        [LONG], None, (translator.source_tokenizer, translator.target_tokenizer), 48, long="split"
    )
    texts = [translator.source_tokenizer.decode(part.ids) for part in pieces]
    search = SearchSettings(beam=3, maximum_length_add=4)
    assert " ".join(texts) == LONG
    assert joined.text == " ".join(filter(None, translator.translate(texts, search=search)))
    scores = [answer.candidates[0].score for answer in translator.answers(texts, search=search)]
    assert joined.candidates[0].score == pytest.approx(sum(scores), abs=1e-4)


def test_a_long_line_can_be_refused_by_number(translator):
    tokens = len(translator.source_tokenizer.encode(LONG))
    with pytest.raises(DataError, match=rf"^Line 2 has {tokens} tokens, but the model takes at most 47"):
        translator.translate(["Red", LONG], long="refuse")


def test_what_was_handled_otherwise_is_told_by_line(translator):
    remarks = Remarks()
    search = SearchSettings(beam=1, maximum_length_factor=0, maximum_length_add=2)
    for answer in translator.stream(["Red", LONG, "", LONG, ENGLISH[0]], search=search):
        remarks.hear(answer)
    assert remarks.in_pieces == [2, 4]
    assert remarks.unfinished  # two tokens are not enough for all of them
    assert 3 not in remarks.unfinished
    pieces, cut = remarks.messages()
    assert pieces == "2 lines were longer than the model reads and were translated in pieces: lines 2, 4"
    assert "cut at the length limit of the search: line" in cut
    assert (
        Remarks(in_pieces=list(range(1, 30)))
        .messages()[0]
        .endswith("lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ...")
    )


# Prefixes


def test_a_translation_begins_with_its_prefix(translator):
    prefixes = ["Zwei Hunde", "", "Die"]
    texts = [ENGLISH[0], ENGLISH[1], LONG]
    first, free, long = translator.translate(texts, prefixes=prefixes)
    assert first.startswith("Zwei Hunde")
    assert free == translator.translate([ENGLISH[1]])[0]
    assert long.startswith("Die")


def test_prefixes_that_do_not_fit_are_refused(translator):
    with pytest.raises(
        DataError, match=r"^Line 2: the prefix has \d+ tokens, but the model takes at most 47"
    ):
        translator.translate(["Red", "Dogs"], prefixes=["", LONG])
    with pytest.raises(DataError, match="2 lines but 1 prefixes"):
        translator.translate(["Red", "Dogs"], prefixes=[""])
    with pytest.raises(DataError, match="2 lines but 1 prefixes"):
        list(translator.stream(["Red", "Dogs"], prefixes=[""]))
    with pytest.raises(DataError, match="more prefixes than the 1 lines"):
        list(translator.stream(["Red"], prefixes=["", ""]))


# What an answer holds


def test_n_best_answers_are_different_and_in_order(translator):
    for answer in translator.answers(ENGLISH, search=SearchSettings(beam=5, n_best=5, maximum_length_add=4)):
        ranks = [(not candidate.finished, -candidate.score) for candidate in answer.candidates]
        assert ranks == sorted(ranks)
        assert len({candidate.pieces for candidate in answer.candidates}) == 5
        assert answer.text == answer.candidates[0].text
        for candidate in answer.candidates:
            assert sum(candidate.token_log_probabilities) == pytest.approx(candidate.log_probability)
            assert len(candidate.token_log_probabilities) == len(candidate.pieces) + candidate.finished


def test_an_answer_survives_json(translator):
    search = SearchSettings(beam=3, n_best=2, maximum_length_add=4)
    for answer in translator.answers([*TEXTS, LONG], search=search, alignment=ALIGNED):
        line = json.dumps(answer.to_json(), ensure_ascii=False, allow_nan=False)
        assert "\n" not in line
        content = json.loads(line)
        assert content == answer.to_json()
        assert content["translation"] == answer.text
        assert [candidate["text"] for candidate in content["candidates"]] == [
            c.text for c in answer.candidates
        ]
        for candidate, read in zip(answer.candidates, content["candidates"], strict=True):
            assert [tuple(link) for link in read["alignment"]] == list(candidate.alignment or ())


def test_a_line_of_output_is_one_line(translator):
    (answer,) = translator.answers(["Red"], prefixes=["Ein\nMann\r\nund"])
    assert "\n" in answer.text
    assert answer.line.startswith("Ein Mann und")
    assert "\n" not in answer.line


# Scores


@pytest.mark.parametrize("tokens", [1, 4096])
def test_scores_are_those_of_the_search(translator, tokens):
    answers = translator.answers(ENGLISH, search=SearchSettings(beam=1, maximum_length_add=60))
    finished = [answer for answer in answers if answer.finished]
    assert finished
    texts = [answer.text for answer in finished]
    # A text may be spelt with other tokens than the model chose; here we score those of the tokenizer.
    scores = translator.score([answer.source for answer in finished], texts, batch_tokens=tokens)
    tokenizer, compared = translator.target_tokenizer, 0
    for answer, score in zip(finished, scores, strict=True):
        best = answer.candidates[0]
        if tuple(tokenizer.pieces(tokenizer.encode(answer.text))) == best.pieces:
            assert score == pytest.approx(best.log_probability, abs=1e-3)
            compared += 1
    assert compared
    one_by_one = [translator.score([a.source], [a.text])[0] for a in finished]
    assert scores == pytest.approx(one_by_one, abs=1e-4)


def test_pairs_that_cannot_be_scored_are_refused(translator):
    with pytest.raises(DataError, match="2 sources but 1 targets"):
        translator.score(["a", "b"], ["c"])
    with pytest.raises(
        DataError, match=r"^Line 2: the target has \d+ tokens, but the model takes at most 47"
    ):
        translator.score(["Red", "Dogs"], ["Rot", LONG])
    with pytest.raises(DataError, match=r"^Line 1: the source has"):
        translator.score([LONG], ["Rot"])
    assert translator.score([], []) == []


# The model in the trainer's hands


def test_a_model_in_training_is_used_without_dropout_and_given_back_as_it_was(model, translator):
    expected = translator.translate(ENGLISH)
    model.train()
    try:
        assert translator.translate(ENGLISH) == expected
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert translator.translate(ENGLISH) == expected
        with pytest.raises(DataError):
            translator.score(["a"], [])
        assert model.training
        state = torch.get_rng_state()
        translator.translate(ENGLISH, search=SearchSettings(method="sample"))
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        model.eval()


def test_the_coverage_penalty_rewards_what_the_last_layer_attends_to(translator):
    with_coverage = SearchSettings(beam=3, n_best=3, coverage_penalty=0.5, maximum_length_add=4)
    without = with_coverage.model_copy(update={"coverage_penalty": 0.0})
    for text in ENGLISH[:3]:
        (penalised,) = translator.answers([text], search=with_coverage)
        (plain,) = translator.answers([text], search=without)
        scores = {candidate.pieces: candidate.score for candidate in plain.candidates}
        same = [candidate for candidate in penalised.candidates if candidate.pieces in scores]
        # cp(X; Y) = beta * sum of log(min(coverage, 1)) is never positive: Wu et al. 2016, equation 14.
        assert same
        for candidate in same:
            ids = translator.source_tokenizer.encode(text)
            said = [translator.target_tokenizer.vocabulary.pieces.index(piece) for piece in candidate.pieces]
            said += [END] * candidate.finished
            weights = module.cross_attention(
                translator.model,
                torch.tensor([[*ids, END]]),
                torch.tensor([said]),
                AlignmentSettings(method="plain", layer="last"),
            )
            coverage = weights[0].mean(0).sum(0).clamp(max=1)
            expected = scores[candidate.pieces] + 0.5 * coverage.log().sum().item()
            assert candidate.score == pytest.approx(expected, abs=1e-3)
    batches = [
        [answer.text for answer in translator.answers(TEXTS, search=with_coverage, batch_tokens=tokens)]
        for tokens in (1, 100)
    ]
    assert batches[0] == batches[1]


def test_a_decoder_only_model_translates_aligns_and_covers(tokenizer):
    settings = DecoderOnlySettings(d_model=16, d_ff=32, heads=2, layers=2, maximum_length=48)
    model = random_model(settings, len(tokenizer), len(tokenizer))
    translator = Translator(model, tokenizer, tokenizer.for_language("de"))
    search = SearchSettings(beam=2, coverage_penalty=0.2, maximum_length_add=4)
    both = [
        translator.answers(ENGLISH, search=search, alignment=ALIGNED, batch_tokens=tokens)
        for tokens in (1, 4096)
    ]
    for alone, together in zip(*both, strict=True):
        assert alone.text == together.text
        assert alone.candidates[0].pharaoh == together.candidates[0].pharaoh
    seen = translator.attention(ENGLISH[0], GERMAN[0], method="plain", layer=1)
    source, target = tokenizer.encode(ENGLISH[0]), tokenizer.for_language("de").encode(GERMAN[0])
    assert seen.weights.shape == (len(target), len(source) + 1)
    with observe(model) as every:
        model(torch.tensor([[*source, END]]), torch.tensor([[START, *target]]))
    weights = every["decoder.layers.1.self_attention"].weights().mean(1)[0]
    torch.testing.assert_close(seen.weights, weights[len(source) + 1 : -1, : len(source) + 1])


def test_a_model_without_attention_translates_but_does_not_align(tokenizer):
    translator = Translator(Recurrent(len(tokenizer)), tokenizer, tokenizer)
    assert len(translator.translate(ENGLISH)) == len(ENGLISH)
    with pytest.raises(HeedfulError, match="This model has no attention to the source"):
        translator.answers(["Red"], prefixes=["Rot"], alignment=ALIGNED)
    with pytest.raises(HeedfulError, match="This model has no attention to the source"):
        translator.translate(ENGLISH, search=SearchSettings(coverage_penalty=0.2))


def test_lower_cased_and_tokenised_text_is_undone_on_the_way_out():
    settings = TokenizerSettings(vocabulary_size=360, min_frequency=1, normalization=("lowercase", "moses"))
    tokenizer = Tokenizer.train({"en": ENGLISH, "de": GERMAN}, settings)
    model = random_model(SETTINGS, len(tokenizer), len(tokenizer))
    translator = Translator(model, tokenizer, tokenizer.for_language("de"))
    (text,) = translator.translate([ENGLISH[0]], prefixes=["Die Frau, die liest."])
    assert text.startswith("die frau, die liest")
