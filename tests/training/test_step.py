"""One update: what it computes, and what happens when memory or numbers fail."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from heedful.data.batching import Batch
from heedful.errors import TrainingError
from heedful.models.transformer import Transformer, TransformerSettings
from heedful.objectives import sequence_loss
from heedful.text.special import END, PAD, START
from heedful.training.settings import TrainingSettings
from heedful.training.step import Stepper, Totals

VOCABULARY = 20


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


def trained(batches, settings=None, failures=0, monkeypatch=None):
    stepper = stepper_of(settings or TrainingSettings(label_smoothing=0.1))
    totals = Totals()
    if monkeypatch is not None:
        loss, left = stepper.loss, [failures]

        def failing(*args):
            if left[0]:
                left[0] -= 1
                raise RuntimeError(
                    "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: 8 TB"
                )
            return loss(*args)

        monkeypatch.setattr(stepper, "loss", failing)
    stepper.step(1, 1e-2, batches, totals)
    return stepper.model, totals


def largest_difference(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_a_batch_that_does_not_fit_is_computed_in_parts_with_the_same_result(monkeypatch):
    whole, sums = trained([batch(8)])
    parts, sums_of_parts = trained([batch(8)], failures=2, monkeypatch=monkeypatch)
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
    together, _ = trained([both])
    apart, _ = trained(_halves(both), TrainingSettings(accumulate=2))
    assert largest_difference(together, apart) < 2e-4


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


def test_clipping_bounds_the_norm_of_the_gradient(monkeypatch):
    stepper = stepper_of(TrainingSettings(clip=1e-3))
    norms = []

    def measure(_rate):
        gradients = [p.grad for p in stepper.model.parameters() if p.grad is not None]
        norms.append(torch.nn.utils.get_total_norm(gradients))

    monkeypatch.setattr(stepper.optimizer, "step", measure)
    stepper.step(1, 1e-3, [batch(4)], Totals())
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)


def test_the_optimizer_goes_on_exactly_after_restore():
    first = stepper_of(TrainingSettings())
    first.step(1, 1e-2, [batch(4)], Totals())
    second = stepper_of(TrainingSettings())
    second.model.load_state_dict(first.model.state_dict())
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    for stepper in (first, second):
        stepper.step(2, 1e-2, [batch(4, seed=1)], Totals())
    assert largest_difference(first.model, second.model) == 0.0
