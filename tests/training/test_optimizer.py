"""What the optimizers do to the weights, beside their definitions written out."""

import math

import pytest
import torch
from torch import Tensor, nn

from heedful.errors import RecipeError
from heedful.models.decoder_only import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.models.encoder import Encoder
from heedful.models.encoder_only import EncoderOnlySettings, EncoderOnlyTransformer
from heedful.models.face import SequenceToSequence
from heedful.models.transformer import Transformer, TransformerSettings
from heedful.training import optimizer
from heedful.training.optimizer import hidden_matrices, make_optimizer, orthogonal
from heedful.training.settings import TrainingSettings
from tests.models.tagger import Tagger

MUON = TrainingSettings(optimizer="muon", momentum=0.9, weight_decay=0.1)
SHAPE = {"d_model": 16, "d_ff": 40, "heads": 4, "dropout": 0.0, "maximum_length": 32}
LAYERS = {"encoder_layers": 1, "decoder_layers": 1}


def transformer(**choices) -> Transformer:
    torch.manual_seed(0)
    return Transformer(TransformerSettings(**SHAPE, **LAYERS, **choices), 20, 20)


def decoder_only(**choices) -> DecoderOnlyTransformer:
    torch.manual_seed(0)
    return DecoderOnlyTransformer(DecoderOnlySettings(**SHAPE, layers=2, **choices), 20, 20)


# Each with the rows of the matrices that lie in one tensor.
PACKED = {"in_weight": [16, 16, 16]}
MODELS = {
    "the paper's": (transformer, PACKED),
    "relative positions, biases, three tables": (
        lambda: transformer(positions="relative", attention_bias=True, tied="none"),
        PACKED,
    ),
    "gated, grouped queries": (
        lambda: transformer(activation="swiglu", kv_heads=2),
        {"in_weight": [16, 8, 8], "inner.weight": [40, 40]},
    ),
    "decoder-only, learned positions": (lambda: decoder_only(positions="learned"), PACKED),
}
EVERY_MODEL = pytest.mark.parametrize(("make", "packed"), MODELS.values(), ids=MODELS)


def set_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype) / 100


def defined(matrix: Tensor) -> Tensor:
    """Newton-Schulz of Jordan et al. 2024: five times aX + b(XX')X + c(XX')(XX')X."""
    x = matrix / matrix.square().sum().sqrt()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.T @ x) + 2.0315 * (x @ x.T @ x @ x.T @ x)
    return x


@EVERY_MODEL
def test_two_steps_of_muon_are_those_of_the_papers_for_each_matrix(make, packed):
    model = make()
    made = make_optimizer(model, MUON, "float32")
    hidden = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.endswith(("in_weight", "out.weight", "inner.weight", "outer.weight"))
    }
    expected = {name: parameter.detach().double() for name, parameter in hidden.items()}
    velocity = dict.fromkeys(hidden, 0.0)
    for seed in (1, 2):
        set_gradients(model, seed)
        for name, parameter in hidden.items():
            gradient = parameter.grad.double()
            # Jordan et al. 2024, as written there; the factor 1 - mu of ours is lost in the norm.
            velocity[name] = MUON.momentum * velocity[name] + gradient
            rows = next((packed[end] for end in packed if name.endswith(end)), [len(gradient)])
            update = torch.cat([defined(m) for m in (gradient + MUON.momentum * velocity[name]).split(rows)])
            scale = torch.cat([torch.full((n, 1), 0.2 * math.sqrt(max(n, gradient.shape[1]))) for n in rows])
            expected[name] = expected[name] - 0.01 * (update * scale + 0.1 * expected[name])
        made.step(0.01)
    assert set(hidden_matrices(model)) == set(hidden.values())
    for name, parameter in hidden.items():
        torch.testing.assert_close(parameter.detach().double(), expected[name], rtol=0, atol=2e-6)


@EVERY_MODEL
def test_all_that_is_no_hidden_matrix_is_adamws(make, packed):
    model, other = make(), make()
    made = make_optimizer(model, MUON, "float32")
    plain = torch.optim.AdamW(
        other.parameters(), lr=0.01, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.1, fused=True
    )
    hidden = {id(parameter) for parameter in hidden_matrices(model)}
    for seed in (1, 2):
        for trained in (model, other):
            set_gradients(trained, seed)
        made.step(0.01)
        plain.step()
    rest = 0
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two) == (id(one) not in hidden)
        rest += id(one) not in hidden
    assert rest >= 9  # a table, and norms


def test_adamw_is_that_of_pytorch_bit_for_bit():
    model, other = transformer(), transformer()
    settings = TrainingSettings(beta1=0.8, beta2=0.95, epsilon=1e-4, weight_decay=0.1)
    made = make_optimizer(model, settings, "float32")
    plain = torch.optim.AdamW(
        other.parameters(), lr=1.0, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1, fused=True
    )
    for seed, rate in enumerate((0.01, 0.02, 0.005)):
        for trained in (model, other):
            set_gradients(trained, seed)
        made.step(rate)
        plain.param_groups[0]["lr"] = rate
        plain.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    names = [name for name, _ in model.named_parameters()]
    assert set(made.state()) == {
        f"optimizer/{key}/{name}" for name in names for key in ("step", "exp_avg", "exp_avg_sq")
    }


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_two_steps_of_sgd_are_those_of_nesterov_with_the_decay_in_the_gradient(momentum):
    model = transformer().double()
    settings = TrainingSettings(optimizer="sgd", momentum=momentum, weight_decay=0.1)
    made = make_optimizer(model, settings, "float32")
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    velocity = dict.fromkeys(expected, 0.0)
    for seed, rate in ((1, 0.5), (2, 0.25)):
        set_gradients(model, seed)
        for name, parameter in model.named_parameters():
            gradient = parameter.grad + 0.1 * expected[name]
            velocity[name] = momentum * velocity[name] + gradient
            expected[name] = expected[name] - rate * (gradient + momentum * velocity[name])
        made.step(rate)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["adamw", "muon", "sgd"])
def test_one_goes_on_from_the_state_of_another_with_the_same_bits(kind):
    settings = TrainingSettings(optimizer=kind)
    first, second = transformer(), transformer()
    one, two = (make_optimizer(model, settings, "float32") for model in (first, second))
    set_gradients(first, 1)
    one.step(0.01)
    second.load_state_dict(first.state_dict())
    two.restore(one.state() | {"model/of the checkpoint": torch.ones(1)})
    for seed in (2, 3):
        for model, made in ((first, one), (second, two)):
            set_gradients(model, seed)
            made.step(0.02)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    one.zero_grad()
    assert all(parameter.grad is None for parameter in first.parameters())


def test_a_weight_without_a_gradient_stays_as_it_is():
    model = transformer()
    made = make_optimizer(model, MUON, "float32")
    set_gradients(model, 1)
    name = "encoder.layers.0.self_attention.in_weight"
    still = model.get_parameter(name)
    still.grad = None
    before = still.detach().clone()
    made.step(0.01)
    assert torch.equal(still, before)
    assert f"optimizer/momentum/{name}" not in made.state()


@pytest.mark.parametrize(("rows", "columns"), [(128, 256), (128, 512), (60, 90)])
def test_singular_values_come_near_to_one_and_singular_vectors_stay(rows, columns):
    torch.manual_seed(0)
    matrices = torch.randn(2, rows, columns) * 1e-4
    found = orthogonal(matrices, torch.float32)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.68
    assert values.max() < 1.14
    # U diag(s) V' times V U' is symmetric and positive: U diag(s) U'.
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ found @ vh.mT
    torch.testing.assert_close(inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("columns", [40, 120])  # wide ones iterate among their products of rows
def test_a_singular_value_goes_through_the_polynomial_alone(columns):
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(size, 40, dtype=torch.float64))[0] for size in (40, columns))
    values = torch.logspace(-4, 0, 40, dtype=torch.float64)
    found = orthogonal((u * values @ v.T)[None], torch.float64)[0]
    x = values / values.norm()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    torch.testing.assert_close(found, u * x @ v.T)


def test_no_gradient_is_no_update():
    assert not orthogonal(torch.zeros(2, 3, 5), torch.float32).any()


def test_what_is_stacked_with_what_changes_nothing_but_rounding(monkeypatch):
    after = []
    for limit in (1, 10**9):
        monkeypatch.setitem(optimizer.STACKED, "cpu", limit)
        model = transformer()
        set_gradients(model, 1)
        make_optimizer(model, MUON, "float32").step(0.01)
        after.append(model.state_dict())
    for name, tensor in after[0].items():
        torch.testing.assert_close(tensor, after[1][name], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("precision", "native", "dtype"), [
    ("float32", True, torch.float32),
    ("bfloat16", False, torch.float32),
    ("bfloat16", True, torch.bfloat16),
])  # fmt: skip
def test_products_are_in_bfloat16_only_where_it_is_wanted_and_native(monkeypatch, precision, native, dtype):
    monkeypatch.setattr(optimizer, "native_bfloat16", lambda device: native)
    model = transformer()
    made = make_optimizer(model, MUON, precision)
    assert made.muon is not None
    assert made.muon.dtype == dtype
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    set_gradients(model, 1)
    made.step(0.01)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    # However large the gradient is, an update is as large as AdamW's: 0.2 on average, where a matrix has full rank.
    for name in ("encoder.layers.0.self_attention.out.weight", "encoder.layers.0.feed_forward.inner.weight"):
        moved = (model.state_dict()[name] - before[name] * (1 - 0.01 * 0.1)) / 0.01
        assert 0.68 * 0.2 < moved.square().mean().sqrt() < 1.2 * 0.2


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_sequences_are_learnt_by_heart(kind):
    model: SequenceToSequence = transformer()
    made = make_optimizer(model, TrainingSettings(optimizer=kind), "float32")
    source = torch.randint(4, 20, (32, 6), generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(100):
        logits = model(source, source)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), source.flip(1).flatten())
        losses.append(float(loss.detach()))
        made.zero_grad()
        loss.backward()
        made.step(0.01)
    assert losses[-1] < losses[0] / 10, losses[::20]


def headed() -> Tagger:
    torch.manual_seed(0)
    settings = EncoderOnlySettings(d_model=8, d_ff=8, heads=2, layers=2, norm="pre", dropout=0.0)
    return Tagger(Encoder(settings, 20))


@pytest.mark.parametrize("kind", ["adamw", "muon", "sgd"])
def test_lower_layers_learn_more_slowly_by_the_decay(kind):
    plain, slow = headed(), headed()
    before = {name: parameter.detach().clone() for name, parameter in plain.named_parameters()}
    for model, decay in ((plain, 1.0), (slow, 0.5)):
        settings = TrainingSettings(optimizer=kind, layer_decay=decay, weight_decay=0.1)
        made = make_optimizer(model, settings, "float32")
        set_gradients(model, 1)
        made.step(0.01)
    shares = {0.125: 0, 0.25: 0, 0.5: 0, 1.0: 0}
    for name, parameter in slow.named_parameters():
        share = 0.5 ** (3 - slow.layer_of(name))
        shares[share] += 1
        whole = plain.get_parameter(name) - before[name]
        torch.testing.assert_close(parameter - before[name], share * whole, rtol=1e-3, atol=1e-7)
    assert all(shares.values())


def test_a_decay_over_layers_needs_a_model_that_tells_them():
    with pytest.raises(RecipeError, match="for models that are an encoder with a head: set it to 1"):
        make_optimizer(transformer(), TrainingSettings(layer_decay=0.9), "float32")


def test_output_layers_of_any_name_are_adamws_and_a_model_without_matrices_is_refused():
    model = EncoderOnlyTransformer(EncoderOnlySettings(**SHAPE, layers=1, segments=2, next_sentence=True), 20)
    assert model.next_sentence is not None
    assert model.next_sentence.weight not in hidden_matrices(model)
    assert model.pooler is not None
    assert model.pooler.weight in hidden_matrices(model)
    with pytest.raises(
        RecipeError, match=r"muon, which is for matrices between hidden vectors, and this model has none"
    ):
        make_optimizer(torch.nn.Embedding(3, 2), MUON, "float32")
