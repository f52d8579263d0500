"""What a training shows of itself."""

import math

import pytest
from rich.console import Console

from heedful.training.progress import Progress


@pytest.mark.parametrize(
    ("nll", "metric", "shown"),
    [
        (math.log(2), "bleu", "perplexity 2.00, bleu 7.00"),
        (math.log(7), "perplexity", "perplexity 7.00"),
        (math.log(2), "loss", "perplexity 2.00"),
        (None, "accuracy", "accuracy 7.00"),
    ],
)
def test_a_validation_tells_each_number_once(nll, metric, shown):
    console = Console(record=True, quiet=False, width=200)
    Progress(console).validated(5, nll, metric, 7.0, True)
    assert console.export_text().split("min")[1].strip() == f"{shown}  (best so far)"


def test_batches_that_memory_did_not_suffice_for_are_told():
    console = Console(record=True, width=300)
    progress = Progress(console)
    progress.loss(1100, 2.0, 1e-3, 5000.0, splits=0)
    assert console.export_text() == ""
    progress.loss(1200, 2.0, 1e-3, 5000.0, splits=3)
    told = console.export_text()
    assert "did not suffice for 3 batches up to step 1,200; they were computed in parts" in told
    assert "data.batches.tokens" in told
