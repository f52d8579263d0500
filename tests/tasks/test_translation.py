"""Translation as a task: what a training adds to the likelihood reaches the loss."""

from heedful.tasks.translation import Translation, TranslationSettings
from tests.tasks.small_model import ENGLISH, GERMAN, SETTINGS
from tests.tasks.small_runs import Said, assert_the_objective_is_heard


def test_smoothing_and_r_drop_reach_the_loss(tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in zip(ENGLISH, GERMAN, strict=True)))
    pairs = {"pairs": tmp_path / "pairs.tsv"}
    settings = TranslationSettings.model_validate(
        {
            "data": {
                "train": pairs,
                "validation": pairs,
                "batches": {"tokens": 200, "maximum_length": 40, "shapes": "exact"},
            },
            "tokenizer": {"vocabulary_size": 360, "min_frequency": 1},
            "model": SETTINGS.model_copy(update={"dropout": 0.2}),
        }
    )
    task = Translation(settings, tmp_path / "run", Said())
    task.prepare()
    assert_the_objective_is_heard(task)
