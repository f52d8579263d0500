"""Answering: places in characters, windows over long texts, from files to a trained model folder and its answers."""

import json
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

import heedful
from heedful.data.squad import Question, question
from heedful.errors import DataError
from heedful.models.span_reader import best_spans
from heedful.tasks.answering import Answering, AnsweringSettings, best_answers
from heedful.tasks.answering_folder import load
from heedful.tasks.asked_texts import Cut, _own, _windows, batch, encode
from heedful.tasks.face import Plain
from heedful.text.places import words
from heedful.text.rarity import likeness, rarities
from heedful.text.special import END, START
from tests.tasks.small_runs import Said, taught

PEOPLE, THINGS = ("Ann", "Bob", "Carla", "Dee"), ("red", "blue", "green", "wide", "small")


def squad(count, seed=0):
    """What somebody's hat is like; of some nothing is told."""
    draw, lines = random.Random(seed), []
    for _ in range(count):
        one, other = draw.sample(PEOPLE, 2)
        first, second = draw.choice(THINGS), draw.choice(THINGS)
        context = f"{one}: {first}. {other}: {second}."
        asked = draw.choice([one, other, "Zed"])
        answers = {one: [first], other: [second]}.get(asked, [])
        start = 0 if asked == one else context.index(other)
        found = [{"text": each, "answer_start": context.index(each, start)} for each in answers]
        lines.append(json.dumps({"question": f"{asked}?", "context": context, "answers": found}))
    return "\n".join(lines) + "\n"


def settings(tmp_path, **more):
    for name, count in (("train", 100), ("test", 20)):
        (tmp_path / f"{name}.jsonl").write_text(squad(count, seed=len(name)))
    return AnsweringSettings.model_validate(
        {
            "data": {
                "train": {"squad": (tmp_path / "train.jsonl",)},
                "tests": {"own": tmp_path / "test.jsonl"},
                "batch": 16,
                "window": 72,
                "answer": 8,
            },
            "tokenizer": {"kind": "words", "vocabulary_size": 100, "min_frequency": 1},
            "model": {
                "d_model": 32, "d_ff": 64, "heads": 4, "layers": 2, "maximum_length": 96, "dropout": 0.0,
                "positions": "rotary", "norm": "pre",
            },
            "head": {"dropout": 0.0},
            **more,
        }
    )  # fmt: skip


@pytest.fixture
def task(tmp_path):
    task = Answering(settings(tmp_path), tmp_path / "run", Said())
    task.prepare()
    return task


def long_question():
    context = " ".join(f"{number}, {THINGS[number % 5]}." for number in range(60))
    start = context.index("40, red") + 4
    return question("40?", context, [("red", start)])


def test_it_is_prepared_once(task):
    task.prepare()
    assert len(task.listener) == 1
    assert len(task.questions["train"]) + len(task.questions["validation"]) == 100
    assert not task.answerable


def test_an_answer_is_taught_at_its_pieces(task):
    text = question("Ann?", "Bob: blue. Ann:\n red  wide.", [("red  wide", 17)])
    (row,) = encode([text], task.pieces, Cut(72, 20, 20))
    spelt = task.tokenizer.pieces(row.tokens)
    assert row.tokens[: row.text] == [START, *task.tokenizer.encode("Ann?"), END]
    assert spelt[row.start : row.end + 1] == ["▁red", "▁wide"]
    places = words(text.context)
    (first,) = (at for at, word in enumerate(row.words) if word[0] == row.start)
    (last,) = (at for at, word in enumerate(row.words) if word[1] == row.end)
    assert text.context[places[first][0] : places[last][1]] == "red  wide"


def test_words_that_the_question_has_too_are_marked_whole(task):
    text = question("What is RED, Ann?", "Bob; blue. Ann: red, Carla!", [])
    (row,) = encode([text], task.pieces, Cut(72, 20, 20))
    (read,) = batch([row], [text], own=True).matches.tolist()
    marked = [piece for piece, match in zip(task.tokenizer.pieces(row.tokens), read, strict=True) if match]
    # Punctuation is a word too, and two that are unknown are not one; the question is not marked itself.
    assert marked == ["▁Ann", "▁red", "<unk>"]
    assert not any(read[: row.text])


def test_marks_are_a_vector_that_is_added_kept_and_read_again(tmp_path):
    plain = Answering(settings(tmp_path), tmp_path / "run", Said())
    marking = Answering(settings(tmp_path, head={"exact_match": True}), tmp_path / "run", Said())
    for task in (plain, marking):
        task.prepare()
    torch.manual_seed(1)
    without = plain.build().eval()
    torch.manual_seed(1)
    model = marking.build().eval()
    texts = [question("Ann?", "Bob: blue. Ann: red.", [])]
    made = batch(encode(texts, marking.pieces, Cut(72, 20, 20)), texts, own=True)
    assert not torch.equal(model(*made.inputs)[0], without(*made.inputs)[0])
    unmarked = replace(made, matches=torch.zeros_like(made.matches))
    torch.testing.assert_close(model(*unmarked.inputs), without(*unmarked.inputs))
    # It is added where the encoder reads.
    read = model.encoder.stack.embedding(made.texts, torch.arange(made.texts.shape[1]))
    added = model.encoder.stack.embedding(
        made.texts, torch.arange(made.texts.shape[1]), features=made.matches.unsqueeze(-1) * model.match
    )
    torch.testing.assert_close((added - read)[made.matches], model.match.expand(int(made.matches.sum()), -1))
    assert not (added - read)[~made.matches].any()
    marking.save(model, tmp_path / "model", {})
    assert torch.equal(load(tmp_path / "model", device="cpu").model.match, model.match)


def test_likeness_tells_rare_words_and_sentences_like_the_question(task):
    rare = rarities([{"ann", "red"}, {"ann"}, {"ann", "blue"}])
    text = question("Red Ann?", "Bob: blue. Ann: Red, Carla! Ann", [])
    (row,) = encode([text], task.pieces, Cut(72, 20, 20), rare)
    (read,) = batch([row], [text], own=True).likeness
    # All three texts have Ann, one has red: log(4 / 2) / log 4.
    first, second = 0.0, likeness({"red", "ann"}, {"ann", "red", "carla"}, rare)
    words_of_text = (
        [(0, first)] * 4 + [(0, second), (0, second), (0.5, second)] + [(0, second)] * 3 + [(0, 0)]
    )
    expected = [(0.5, second), *[(0, 0)] * (row.text - 1), *words_of_text, (0, 0)]
    torch.testing.assert_close(read, torch.tensor(expected, dtype=torch.float32))


def test_likeness_is_added_where_the_encoder_reads_kept_and_read_again(tmp_path):
    task = Answering(settings(tmp_path, head={"likeness": True}), tmp_path / "run", Said())
    task.prepare()
    model = task.build().eval()
    assert torch.equal(model.rarities, torch.from_numpy(task.rare))
    texts = [question("Ann?", "Bob: blue. Ann: red.", [])]
    made = batch(encode(texts, task.pieces, Cut(72, 20, 20), task.rare), texts, own=True)
    embedding, places = model.encoder.stack.embedding, torch.arange(made.texts.shape[1])
    added = embedding(made.texts, places, features=made.likeness @ model.likeness)
    seen = []
    with embedding.register_forward_hook(lambda *call: seen.append(call[-1])):
        model(*made.inputs)
    torch.testing.assert_close(seen[0], added)
    with pytest.raises(ValueError, match="needs the likeness"):
        model(*made.inputs[:5])
    task.save(model, tmp_path / "model", {})
    again = load(tmp_path / "model", device="cpu")
    assert torch.equal(again.model.rarities, model.rarities)
    read = best_answers(again.model, again.pieces, texts, Cut(72, 20, 20), 8)
    assert read == best_answers(model, task.pieces, texts, Cut(72, 20, 20), 8)
    # What a text has in common with a question by rarer words is another thing to the model.
    again.model.rarities.zero_()
    assert read != best_answers(again.model, again.pieces, texts, Cut(72, 20, 20), 8)


def test_no_answer_is_taught_at_the_start(task):
    (row,) = encode([Question("Zed?", "Bob: blue.")], task.pieces, Cut(72, 20, 20))
    assert (row.start, row.end) == (0, 0)


@given(some.lists(some.integers(1, 5), max_size=80), some.integers(10, 40), some.integers(1, 50))
def test_every_word_is_in_a_window_and_may_begin_an_answer_in_one(sizes, room, stride):
    found = list(_windows(sizes, room, stride))
    assert found[-1][1] == len(sizes)
    assert all(sum(sizes[first:end]) <= room for first, end in found)
    begins = []
    for at, (first, _) in enumerate(found):
        own = _own(found, at)
        begins += range(first + own[0], first + own[1])
    assert begins == list(range(len(sizes)))


def test_a_long_text_is_read_in_windows(task):
    text = long_question()
    rows = encode([text], task.pieces, Cut(72, 24, 20))
    assert len(rows) > 5
    assert max(len(row.tokens) for row in rows) <= 72
    taught = [row for row in rows if row.start]
    assert taught
    for row in taught:
        assert task.tokenizer.pieces(row.tokens[row.start : row.end + 1]) == ["▁red"]
    # A word may begin an answer in one window only.
    made = batch(rows, [text], own=True)
    assert int(made.begins[:, 1:].sum()) == len(words(text.context))
    assert bool(made.begins[:, 0].all())
    free = batch(rows, [text], own=False)
    assert bool((free.begins | ~made.begins).all())
    assert bool(free.begins[torch.arange(len(rows)), free.starts].all())
    assert bool(free.closes[torch.arange(len(rows)), free.ends].all())


def test_the_best_span_is_that_of_all():
    starts, ends = torch.randn(4, 9), torch.randn(4, 9)
    starts[:, 4] = -torch.inf
    first, last, score = best_spans(starts, ends, 3)
    for row in range(4):
        every = {
            (one, other): float(starts[row, one] + ends[row, other])
            for one in range(1, 9)
            for other in range(one, min(one + 3, 9))
        }
        best = max(every, key=lambda span: every[span])
        assert (int(first[row]), int(last[row])) == best
        assert float(score[row]) == pytest.approx(every[best])


def test_a_text_without_words_has_no_answer(task):
    model = task.build().eval()
    cut = task.settings.cut
    (found,) = best_answers(model, task.pieces, [Question("Ann?", " \n ")], cut, 8)
    assert found[:3] == ("", 0, 0)
    assert found.margin == -float("inf")


def test_the_answer_to_a_long_text_is_the_best_of_its_windows(task):
    model, text = task.build().eval(), long_question()
    (whole,) = best_answers(model, task.pieces, [text], Cut(72, 24, 20), 8)
    rows = encode([text], task.pieces, Cut(72, 24, 20))
    made = batch(rows, [text], own=True)
    with torch.no_grad():
        starts, ends = model(*made.inputs)
    quiet = float((starts[:, 0] + ends[:, 0]).min())
    best = max(float(best_spans(starts[at : at + 1], ends[at : at + 1], 8)[2]) for at in range(len(rows)))
    assert whole.margin == pytest.approx(best - quiet, abs=1e-5)
    assert text.context[whole.start : whole.end] == whole.text


def test_padding_changes_nothing_and_the_parts_of_a_batch_cost_what_it_costs(task):
    model = task.build().eval()
    texts = [question("Ann?", "Ann: red.", [("red", 5)]), long_question()]
    rows = encode(texts, task.pieces, Cut(72, 24, 20))
    together = batch(rows, texts, own=False)
    alone = batch(rows[:1], texts, own=False)
    for one, other in zip(
        model(*alone.inputs),
        model(*together.inputs),
        strict=True,
    ):
        torch.testing.assert_close(one[0], other[0, : one.shape[1]])
    whole = task.loss(model, together, Plain())
    parts = [task.loss(model, part, Plain()) for part in together.split(3)]
    assert sum(part.tokens for part in parts) == whole.tokens == len(rows)
    torch.testing.assert_close(sum(part.smoothed for part in parts), whole.smoothed)


def test_it_learns_is_saved_scored_and_answers(task, tmp_path):
    model = taught(task, 150, 0.004)
    assert task.validate(model, "f1") > 60  # of 20 questions, a third without an answer
    task.save(model, tmp_path / "model", {})
    (scores,) = task.evaluate(tmp_path / "model", "cpu").values()
    assert {score.name for score in scores} >= {"f1", "f1 answerable", "f1 unanswerable"}
    answerer = heedful.load(tmp_path / "model", device="cpu")
    lines = [
        json.dumps({"question": f"{who}?", "context": "Bob: blue. Ann: red.", "id": who})
        for who in ("Ann", "Zed")
    ]
    for answer in answerer.stream(lines):
        assert answer.text == (
            "" if answer.start is None else "Bob: blue. Ann: red."[answer.start : answer.end]
        )
        assert "\n" not in answer.line
        json.dumps(answer.to_json())
    threshold = answerer.threshold
    assert threshold is not None
    assert [answer.text == "" for answer in answerer.stream(lines)] == [
        answer.margin <= threshold for answer in answerer.stream(lines)
    ]
    again = load(tmp_path / "model", device="cpu")
    for one, other in zip(model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_where_every_question_has_an_answer_one_is_always_given(tmp_path):
    recipe = settings(tmp_path)
    kept = [line for line in squad(60).splitlines() if json.loads(line)["answers"]]
    (tmp_path / "train.jsonl").write_text("\n".join(kept))
    task = Answering(recipe, tmp_path / "run", Said())
    task.prepare()
    model = task.build().eval()
    task.save(model, tmp_path / "model", {})
    answerer = load(tmp_path / "model", device="cpu")
    assert answerer.threshold is None
    assert answerer.predict("Zed?", "Bob: blue.").text


def test_mistakes_are_told(task, tmp_path):
    task.save(task.build(), tmp_path / "model", {})
    answerer = load(tmp_path / "model", device="cpu")
    with pytest.raises(DataError, match=r"line 2 needs 'context'"):
        list(answerer.stream(['{"question": "a", "context": "b"}', '{"question": "a"}']))
    with pytest.raises(DataError, match="The question is empty"):
        answerer.predict(" ", "a")
    recipe = settings(tmp_path)
    lines = [json.dumps({"question": "a", "context": f"b {at}"}) for at in range(9)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"nothing to learn.*under 'answers'"):
        Answering(recipe, tmp_path / "other", Said()).prepare()


def test_settings_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="no training data"):
        AnsweringSettings.model_validate({"data": {}})
    with pytest.raises(ValidationError, match="the last is 4"):
        AnsweringSettings.model_validate({"data": {"name": "xquad", "fold": 5}})
    with pytest.raises(ValidationError, match="a test set cannot be called train"):
        AnsweringSettings.model_validate({"data": {"name": "xquad", "tests": {"train": "a"}}})
    causal = {"architecture": "decoder-only", "d_model": 8, "d_ff": 8, "heads": 2, "layers": 1}
    with pytest.raises(ValueError, match=r"exact_match and head\.likeness mark words"):
        settings(tmp_path, model=causal, head={"exact_match": True}).check(Plain())
    with pytest.raises(ValueError, match="below 72"):
        settings(tmp_path, model={"maximum_length": 50}).check(Plain())


def test_a_question_whose_answers_stand_nowhere_is_not_learnt_from(tmp_path):
    recipe = settings(tmp_path)
    path = tmp_path / "train.jsonl"
    lost = [
        {"question": "Where?", "context": f"Ann: red {at}.", "answers": [{"text": "Rome"}]}
        for at in range(50)
    ]
    path.write_text(path.read_text() + "".join(json.dumps(each) + "\n" for each in lost))
    task = Answering(recipe, tmp_path / "run", Said())
    task.prepare()
    assert "Where?" not in {each.text for each in task.questions["train"]}
    assert "Zed?" in {
        each.text for each in task.questions["train"]
    }  # of no answer there is something to learn


def test_of_a_question_and_of_an_answer_no_more_pieces_are_read_than_asked_for(task):
    text = question(" ".join(["Ann"] * 30) + "?", "Bob: blue. Ann: red wide.", [("red wide", 16)])
    (row,) = encode([text], task.pieces, Cut(72, 20, 7))
    assert row.text == 7 + 2  # START and END
    model = task.build().eval()
    for longest in (1, 2):
        (found,) = best_answers(model, task.pieces, [long_question()], task.settings.cut, longest)
        assert len(task.tokenizer.encode(found.text)) <= longest
