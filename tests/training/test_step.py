"""One update: what it computes, and what happens when memory or numbers fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from heedful.data.batching import Batch
from heedful.errors import TrainingError
from heedful.models.transformer import Transformer, TransformerSettings
from heedful.objectives import Loss, sequence_loss
from heedful.text.special import END, PAD, START
from heedful.training.settings import TrainingSettings
from heedful.training.step import Stepper, Totals

VOCABULARY = 20
# Of 0.1: PyTorch spreads its own over the reference as well.
SMOOTHING = 0.1 * VOCABULARY / (VOCABULARY - 1)


def model(dropout: float = 0.0) -> Transformer:
    torch.manual_seed(0)
    settings = TransformerSettings(
        d_model=16, d_ff=32, heads=2, encoder_layers=1, decoder_layers=1, dropout=dropout, maximum_length=32
    )
    return Transformer(settings, VOCABULARY, VOCABULARY)


def batch(rows: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, VOCABULARY, (rows, 7), generator=generator)
    ids[0, 4:] = PAD
    source = torch.cat((ids, torch.full((rows, 1), END)), 1)
    target = torch.cat((torch.full((rows, 1), START), ids), 1)
    return Batch(source, target, source.clone(), int((source != PAD).sum()), 0, np.arange(rows))


def stepper_of(settings: TrainingSettings) -> Stepper:
    trained = model()

    def loss(batch):
        tensors = batch.source, batch.target_input, batch.target_output
        return sequence_loss(trained, *tensors, settings.label_smoothing)

    return Stepper(trained, loss, settings, "cpu", "float32", "pair")


NO_MEMORY = [
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: 8 TB"),
    RuntimeError("CUDA out of memory. Tried to allocate 8 TB"),
    MemoryError(),
]


def trained(batches, settings=None, failures=0, monkeypatch=None, error=NO_MEMORY[0]):
    stepper = stepper_of(settings or TrainingSettings(label_smoothing=0.1))
    totals = Totals()
    if monkeypatch is not None:
        loss, left = stepper.loss, [failures]

        def failing(*args):
            if left[0]:
                left[0] -= 1
                raise error
            return loss(*args)

        monkeypatch.setattr(stepper, "loss", failing)
    stepper.step(1, 1e-2, batches, totals)
    return stepper.model, totals


def largest_difference(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("error", NO_MEMORY, ids=["system", "CUDA", "Python"])
def test_a_batch_that_does_not_fit_is_computed_in_parts_with_the_same_result(monkeypatch, error):
    whole, sums = trained([batch(8)])
    parts, sums_of_parts = trained([batch(8)], failures=2, monkeypatch=monkeypatch, error=error)
    assert sums_of_parts.splits == 2
    assert sums_of_parts.tokens == sums.tokens
    assert sums_of_parts.smoothed == pytest.approx(sums.smoothed, rel=1e-5)
    assert (
        largest_difference(whole, parts) < 2e-4
    )  # Adam's first step is +-rate wherever the gradient is not tiny


def test_a_pair_that_does_not_fit_alone_stops_with_what_to_do(monkeypatch):
    with pytest.raises(
        TrainingError, match=r"does not fit in memory even one pair at a time.*maximum_length"
    ):
        trained([batch(4)], failures=100, monkeypatch=monkeypatch)


def test_other_errors_are_not_taken_for_memory():
    def broken(_batch):
        raise RuntimeError("shapes do not fit")

    stepper = stepper_of(TrainingSettings())
    stepper.loss = broken
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        stepper.step(1, 1e-2, [batch(4)], Totals())


def test_accumulated_batches_are_one_batch():
    both = batch(8)
    together, sums = trained([both])
    apart, sums_apart = trained(_halves(both), TrainingSettings(label_smoothing=0.1, accumulate=2))
    assert largest_difference(together, apart) < 2e-4
    assert sums_apart.tokens == sums.tokens == both.tokens
    assert sums_apart.means() == pytest.approx(sums.means(), rel=1e-5)


def test_what_is_logged_is_the_loss_and_the_likelihood_of_a_token_before_the_update():
    both = batch(8)
    _, sums = trained([both])
    logits, reference = model()(both.source, both.target_input).flatten(0, 1), both.target_output.flatten()
    nll, loss = (
        float(cross_entropy(logits.detach(), reference, ignore_index=PAD, label_smoothing=smoothing))
        for smoothing in (0.0, SMOOTHING)
    )
    assert sums.means() == pytest.approx({"loss": loss, "nll": nll}, rel=1e-5)


def _halves(both: Batch) -> list[Batch]:
    return [replace(half, tokens=int((half.target_output != PAD).sum())) for half in both.split(2)]


def test_a_loss_that_is_not_finite_names_the_step_and_the_pairs():
    stepper = stepper_of(TrainingSettings())
    with torch.no_grad():
        stepper.model.output.weight.fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"step 12 is not finite .*training pairs \[0, 1, 2, 3\].*learning rate"
    ):
        stepper.step(12, 1e-3, [batch(4)], Totals())


def test_a_gradient_that_is_not_finite_changes_no_weight_where_gradients_are_clipped():
    stepper = stepper_of(TrainingSettings(clip=1.0))
    before = [parameter.detach().clone() for parameter in stepper.model.parameters()]
    # The root of zero is zero, and its slope is none.
    root = (stepper.model.output.weight * 0).sum().sqrt()
    stepper.loss = lambda batch: Loss(root, root.detach(), batch.tokens)
    with pytest.raises(TrainingError, match="step 3 is not finite"):
        stepper.step(3, 1e-3, [batch(4)], Totals())
    assert all(map(torch.equal, stepper.model.parameters(), before))


def gradients_of(settings: TrainingSettings, batches: list[Batch], monkeypatch) -> dict[str, torch.Tensor]:
    """What the optimizer is given."""
    stepper, found = stepper_of(settings), {}

    def measure(_rate):
        found.update({name: p.grad.clone() for name, p in stepper.model.named_parameters()})

    monkeypatch.setattr(stepper.optimizer, "step", measure)
    stepper.step(1, 1e-3, batches, Totals())
    return found


def test_the_gradient_is_that_of_the_mean_over_all_target_tokens(monkeypatch):
    """Adam's first step is the same whatever the gradient is multiplied by: the weights would not tell."""
    both = batch(8)
    found = gradients_of(TrainingSettings(label_smoothing=0.1), _halves(both), monkeypatch)
    same = model()
    logits = same(both.source, both.target_input).flatten(0, 1)
    reference = both.target_output.flatten()
    cross_entropy(logits, reference, ignore_index=PAD, label_smoothing=SMOOTHING).backward()
    for name, parameter in same.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_clipping_shortens_the_gradient_and_does_not_turn_it(monkeypatch):
    free = gradients_of(TrainingSettings(clip=None), [batch(4)], monkeypatch)
    norm = torch.nn.utils.get_total_norm(free.values())
    for clip, factor in ((1e-3, 1e-3 / norm), (2 * float(norm), 1.0)):
        clipped = gradients_of(TrainingSettings(clip=clip), [batch(4)], monkeypatch)
        for name, gradient in free.items():
            torch.testing.assert_close(clipped[name], factor * gradient, rtol=1e-4, atol=1e-9)
