"""Looking into every kind of model: what is in the scene is what the model computes, and each row is called rightly."""

import re
import threading

import pytest
import torch
from torch.testing import assert_close

from heedful.attention import Rollout
from heedful.errors import DataError, HeedfulError, ModelFolderError
from heedful.models import RNNsearch
from heedful.tasks import save
from heedful.text.special import END, START
from heedful.viewing.looking import look, open_model, opened
from heedful.viewing.looks.opened import watched
from tests.viewing import every_kind

SOURCE = "A man rides a brown horse."
ATTENDING = [name for name in every_kind.ARCHITECTURES if name not in ("bytenet", "no attention")]
ONE_TEXT = {
    "language model": (every_kind.language_model, SOURCE),
    "masked language model": (every_kind.mask_filler, "A man [MASK] a [MASK] horse."),
    "pair of a masked language model": (every_kind.mask_filler, {"text": SOURCE, "second": "Two dogs play."}),
    "embedder": (every_kind.embedder, SOURCE),
    "classifier": (every_kind.classifier, SOURCE),
    "classifier of pairs": (
        lambda: every_kind.classifier(pairs=True),
        {"text": SOURCE, "second": "Two dogs."},
    ),
    "tagger": (every_kind.tagger, "A man rides to Rome."),
    "answerer": (every_kind.answerer, {"question": "Who rides?", "context": SOURCE}),
    "memory": (every_kind.memory, {"story": "\n".join(every_kind.FACTS), "question": "Where is Mary?"}),
    "agent": (every_kind.agent, "2:1 0:0 2:1"),
}


@pytest.fixture(scope="module", params=ATTENDING)
def looked(request):
    """A translator of an architecture, and what was seen."""
    translator = every_kind.translator(request.param)
    return translator, look(translator, SOURCE)


def test_the_own_translation_is_that_of_the_search(looked):
    translator, scene = looked
    assert scene.answer == translator.translate([SOURCE])[0]
    spelled = "".join(token.text for token in scene.axes["source"].tokens)
    assert spelled.replace(" ", "") == SOURCE.replace(" ", "") + "</s>"


def test_a_row_is_called_by_the_token_that_its_position_predicts(looked):
    translator, scene = looked
    target = [token.text for token in scene.axes["target"].tokens]
    assert target[-1] == "</s>"
    crossed = [one for one in scene.maps if one.group == "cross"]
    assert [one.queries for one in crossed] == ["target"] * len(crossed)
    for one in crossed:
        # The definition: naive attention, of the position that predicts.
        expected = translator.attention(SOURCE, layer=one.layer, method="plain").weights
        found = one.record.weights()[0].mean(0)
        assert found.shape == (len(target), len(scene.axes["source"].tokens))
        assert_close(found[:-1], expected, rtol=1e-4, atol=1e-5)


def test_a_forced_word_changes_no_row_up_to_the_one_that_predicts_it(looked):
    translator, _ = looked
    one, other = (look(translator, SOURCE, f"Ein Mann {last}") for last in ("Pferd.", "Wasser."))
    texts = [[token.text for token in scene.axes["target"].tokens] for scene in (one, other)]
    same = next(place for place, pair in enumerate(zip(*texts, strict=False)) if pair[0] != pair[1])
    assert same > 0
    for left, right in zip(one.maps, other.maps, strict=True):
        if left.group == "cross":
            a, b = left.record.weights()[0], right.record.weights()[0]
            # Row `same` predicts the word that differs, and has not read it. RNNsearch asks with the state from before
            # it reads a word, so there the next row has not either.
            until = same + 1 + isinstance(translator.model, RNNsearch)
            assert_close(a[:, :until], b[:, :until])
            assert not torch.allclose(a[:, until], b[:, until], atol=1e-6)


def test_run_gives_the_models_own_logits_and_gradients_reach_its_inputs(looked):
    translator, scene = looked
    model, made = translator.model, {}
    ids = [*translator.source_tokenizer.encode(SOURCE), END]
    name, taken = scene.outputs
    written = taken[-len(scene.axes["target"].tokens) :]
    with torch.no_grad():
        expected = model(torch.tensor([ids]), torch.tensor([[START, *written[:-1]]]))[0]
        assert_close(scene.run()[-len(written) :], expected)
        assert_close(scene.run(slice(0, 1)), scene.run()[:1])
    assert len(taken) == len(scene.taken) == len(scene.axes[name].tokens)

    def keep(axis, given):
        given.retain_grad()
        made[axis] = given

    handles = [
        module.register_forward_hook(lambda _module, _read, given, axis=axis: keep(axis, given))
        for axis, module in scene.inputs.items()
    ]
    try:
        scene.run(slice(1, 2))[0, taken[1]].backward()
    finally:
        for handle in handles:
            handle.remove()
    assert set(made) == set(scene.inputs)
    for axis, given in made.items():
        length = len(scene.axes[axis].tokens) if axis in scene.axes else len(written)
        assert 1 in given.shape[:2]
        assert given.shape[0] * given.shape[1] == length
        # The second output has read two tokens of the target, or of the sequence, and all of the source.
        gradient = given.grad.flatten(0, 1).abs().sum(-1)
        assert gradient[0] > 0
        if axis == "read":
            assert (gradient[:2] > 0).all()
            assert not gradient[2:].any()


def test_rollout_follows_a_transformer_from_the_target_to_both_texts():
    scene = look(every_kind.translator(), SOURCE)
    rollout = Rollout(scene.steps)
    drawn = rollout.rows([1])
    assert set(drawn) == {"source", "read"} <= set(scene.axes)
    assert drawn["source"].shape[-1] == len(scene.axes["source"].tokens)
    assert_close(drawn["source"].sum() + drawn["read"].sum(), torch.tensor(1.0))
    assert not drawn["read"][0, 0, 2:].any()


def test_rows_may_be_called_by_what_is_read():
    scene = look(every_kind.translator(), SOURCE, "Ein Mann", rows="reading")
    crossed = next(one for one in scene.maps if one.group == "cross")
    assert crossed.queries == "read"
    read, target = ([token.text for token in scene.axes[name].tokens] for name in ("read", "target"))
    assert read == ["<s>", *target[:-1]]


def test_the_cross_attention_of_one_stack_is_a_part_of_its_whole():
    scene = look(every_kind.translator("decoder-only"), SOURCE)
    whole, across = scene.maps[0], next(one for one in scene.maps if one.group == "cross")
    first = len(scene.axes["source"].tokens)
    assert_close(across.record.weights(), whole.record.weights()[:, :, first:, :first])
    assert_close(across.record.log_sum_exp(), whole.record.log_sum_exp()[:, :, first:])
    assert_close(across.record.received(), whole.record.weights()[:, :, first:, :first].sum(2))
    shares = whole.record.weights()[:, :, first, :first]
    shares = shares / shares.sum(-1, keepdim=True)
    assert_close(across.record.entropy()[..., 0], torch.special.entr(shares).sum(-1))
    # Distances are those of the whole sequence.
    assert_close(across.record.head(1).at(-first), whole.record.head(1).at(-first)[..., first:])


@pytest.mark.parametrize("name", ["bytenet", "no attention"])
def test_what_does_not_attend_is_refused_in_one_sentence(name):
    with pytest.raises(HeedfulError, match="has no attention"):
        look(every_kind.translator(name), SOURCE)


@pytest.mark.parametrize("kind", ONE_TEXT)
def test_other_models_are_looked_into(kind):
    make, texts = ONE_TEXT[kind]
    model = make()
    scene = look(model, texts)
    assert scene.maps
    for one in scene.maps:
        batch, heads, queries, keys = one.record.shape
        assert (batch, heads) == (1, one.heads)
        assert queries == len(scene.axes[one.queries].tokens)
        assert keys == len(scene.axes[one.keys].tokens)
        weights = one.record.weights()
        assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))
    if kind == "embedder":
        assert scene.run is None
        return
    name, taken = scene.outputs
    scores = scene.run()
    assert len(scores) == len(taken) == len(scene.taken) == len(scene.axes[name].tokens)
    assert scores.requires_grad
    scores.sum().backward()
    assert bool(scene.answer) == (kind != "pair of a masked language model")


def test_a_language_models_row_predicts_the_token_after_it():
    model = every_kind.language_model()
    scene = look(model, SOURCE)
    tokens = [token.text for token in scene.axes["text"].tokens]
    assert tokens[0] == "<s>"
    assert scene.axes["text"].tokens[0].special
    assert list(scene.taken[:-1]) == tokens[1:]
    assert scene.outputs[1][-1] == scene.run(slice(-1, None))[0].argmax()
    assert scene.answer.startswith("Next: ")


def test_holes_are_taken_as_what_the_model_fills_them_with():
    filler = every_kind.mask_filler()
    text = "A man [MASK] a horse."
    scene = look(filler, text)
    (hole,) = scene.facts["holes"]
    assert scene.axes["text"].tokens[hole].text == "[MASK]"
    assert filler.tokenizer.pieces([scene.outputs[1][hole]]) == [filler.fill(text).masks[0][0].piece]
    # A hole is a word of its own.
    words = [token.word for token in scene.axes["text"].tokens]
    assert words[hole] == 2
    assert words[hole + 1] in (None, 3)


def test_words_of_a_second_text_are_counted_on():
    scene = look(every_kind.mask_filler(), {"text": "A man.", "second": "Two dogs."})
    words = [token.word for token in scene.axes["text"].tokens if token.word is not None]
    assert sorted(set(words)) == [0, 1, 2, 3]
    assert words == sorted(words)
    assert sum(token.text == "</s>" for token in scene.axes["text"].tokens) == 2


def test_the_answers_are_the_models_own():
    tagger, text = every_kind.tagger(), "A man rides to Rome."
    assert list(look(tagger, text).taken) == list(tagger.predict(text).tags)
    classifier = every_kind.classifier()
    assert list(look(classifier, SOURCE).taken) == [classifier.predict([SOURCE])[0].label]
    agent = every_kind.agent()
    scene = look(agent, "2:1 0:0")
    assert scene.outputs[1] == [2, 0, agent.predict([(2, 1.0), (0, 0.0)]).action]
    assert [token.text for token in scene.axes["steps"].tokens] == ["start", "2:1", "0:0"]


def test_the_classifiers_pooling_is_a_map_of_one_query():
    scene = look(every_kind.classifier(), SOURCE)
    pooling = scene.maps[-1]
    assert (pooling.group, pooling.queries, pooling.keys) == ("cross", "label", "text")
    assert scene.axes["label"].tokens[0].text == scene.taken[0]
    assert len(scene.steps) == 2


def test_hops_look_at_the_facts_that_are_remembered():
    story = "\n".join(("1 Sandra moved to the garden.", *every_kind.FACTS))
    memory = every_kind.memory()
    scene = look(memory, story, "Where is Mary?")
    assert [token.text for token in scene.axes["facts"].tokens] == list(every_kind.FACTS)
    assert scene.facts["forgotten"] == 1
    answer = memory.predict(every_kind.FACTS, "Where is Mary?")
    for one, hop in zip(scene.maps, answer.hops, strict=True):
        assert_close(one.record.weights().flatten(), torch.tensor(hop.weights))


def test_an_image_is_named_after_looking_at_its_examples(tmp_path):
    pytest.importorskip("PIL", reason="pillow is missing: heedful[images]")
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.pgm").write_bytes(every_kind.drawing(number))
    query = tmp_path / "query.pgm"
    query.write_bytes(every_kind.drawing(9))
    namer = every_kind.namer()
    scene = look(namer, str(tmp_path), str(query))
    assert [token.text for token in scene.axes["steps"].tokens] == ["a", "a", "b", "b", "query.pgm?"]
    assert list(scene.taken) == [namer.predict(tmp_path, [query])[0].name]
    assert scene.run().shape == (1, 3)


def test_nothing_quadratic_is_made_of_a_long_text():
    model = every_kind.language_model(positions="rotary", layers=1)
    text = " ".join(["horse"] * 2000)
    scene = look(model, text)
    length = len(scene.axes["text"].tokens)
    assert length > 2000
    kept = scene.maps[0].record.call
    assert kept.query.numel() == kept.key.numel() == length * 16
    assert_close(scene.maps[0].record.row(length - 1).sum(-1), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("make", "texts", "said"),
    [
        (every_kind.translator, " ", "source is empty"),
        (every_kind.translator, " ".join(["horse"] * 50), "the model takes at most 47"),
        (every_kind.translator, {"text": "A man."}, "reads source and target"),
        (every_kind.language_model, " ".join(["horse"] * 200), "reads 128 at once"),
        (every_kind.classifier, " ".join(["horse"] * 200), "longer than this model reads at once"),
        (every_kind.memory, {"story": "a\t", "question": "Where?"}, "nothing on one side"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(make, texts, said):
    with pytest.raises(DataError, match=re.escape(said)):
        look(make(), texts)


def test_a_model_of_one_text_takes_no_second():
    with pytest.raises(DataError, match="reads one text"):
        look(every_kind.language_model(), "A man.", "Ein Mann.")
    with pytest.raises(HeedfulError, match="no way to look into list"):
        look([], "A man.")


@pytest.fixture
def folder(tmp_path):
    """A model folder of a translator, as that of a run with a checkpoint of other weights."""
    translator = every_kind.translator()
    run = tmp_path / "run"
    tokenizers = translator.source_tokenizer, translator.target_tokenizer
    save(run / "model", translator.model, translator.model.settings, *tokenizers, search=translator.search)
    return run


def test_a_folder_is_opened_with_what_people_are_told_of_it(folder):
    found = open_model(folder, device="cpu")
    assert (found.title, found.task, found.folder_name, found.writes) == (
        "English to German",
        "translation",
        "run",
        True,
    )
    assert [(ask.name, ask.title, ask.optional) for ask in found.asks] == [
        ("source", "English", False),
        ("target", "German", True),
    ]
    assert found.asks[0].example == "A man rides a horse along the beach."
    assert found.parameters == sum(each.numel() for each in every_kind.translator().model.parameters())
    assert opened(found) is found
    assert_close(
        look(found, SOURCE).maps[0].record.weights(),
        look(every_kind.translator(), SOURCE).maps[0].record.weights(),
    )


def test_a_checkpoint_is_the_model_at_its_step(folder):
    from heedful.training.checkpoint import Checkpoints

    before = every_kind.translator(seed=7).model
    weights = {f"model/{name}": each.detach() for name, each in before.named_parameters()}
    Checkpoints(folder / "checkpoints").write(20, weights, {})
    scene = look(f"{folder}@20", SOURCE, "Ein Mann")
    assert_close(
        scene.maps[0].record.weights(),
        look(every_kind.translator(seed=7), SOURCE, "Ein Mann").maps[0].record.weights(),
    )
    assert open_model(f"{folder}@20").folder_name == "run@20"
    with pytest.raises(ModelFolderError, match="no checkpoint of step 30; it has those of 20"):
        open_model(f"{folder}@30")
    del weights["model/decoder.layers.0.self_norm.weight"]
    Checkpoints(folder / "checkpoints").write(40, weights, {})
    with pytest.raises(ModelFolderError, match=r"has no decoder.layers.0.self_norm.weight"):
        open_model(f"{folder}@40")


def test_calls_of_other_threads_are_not_those_that_are_watched():
    network = torch.nn.Linear(2, 2)
    mine, others = torch.zeros(1, 2), torch.ones(3, 2)
    with watched(network) as noted:
        network(mine)
        other = threading.Thread(target=network, args=(others,))
        other.start()
        other.join()
    assert noted.calls == 1
    assert_close(noted.arguments[0], mine)
    with pytest.raises(DataError, match="longer than this model reads at once"):
        _twice(network, mine)


def _twice(network: torch.nn.Module, given: torch.Tensor) -> None:
    with watched(network):
        network(given)
        network(given)
