"""A longer training in the folder of a shorter one: as if it had been meant to be so long from the start.

Only the number of steps may differ, and only while nothing that was done depends on it. What a run holds is then what
a run of the longer recipe would hold at this step, bit for bit.
"""

from heedful.errors import RecipeError
from heedful.training.checkpoint import Checkpoints
from heedful.training.recipe import Recipe
from heedful.training.run import Run
from heedful.training.schedule import Schedule


def check_longer(run: Run, before: Recipe, after: Recipe) -> None:
    """Raise RecipeError, with the reason, unless the run of `before` can go on as one of `after`.

    The two differ in training.steps alone.
    """
    done = max(Checkpoints(run.checkpoints).steps(), default=0)
    old, new = before.training, after.training
    kept = f"Keep training.steps = {old.steps}, or name another folder with --run."
    if new.steps <= done:
        raise RecipeError(
            f"{run.folder} is at step {done:,} already, and training.steps is {new.steps}. {kept}"
        )
    if done == old.steps and (done % new.validate_every or done % new.log_every):
        raise RecipeError(
            f"{run.folder} was logged and validated at step {done:,} because it was the last; a run of {new.steps:,} "
            f"steps would not have been. {kept}"
        )
    width = getattr(getattr(after, "model", None), "d_model", None)
    one, other = (Schedule(new.schedule, width, steps) for steps in (old.steps, new.steps))
    other_rate = next((step for step in range(1, done + 1) if one.rate(step) != other.rate(step)), None)
    if other_rate is not None:
        raise RecipeError(
            f"{run.folder} is at step {done:,} already, and since step {other_rate:,} its learning rate has been "
            f"falling towards step {old.steps:,}: a run of {new.steps:,} steps would have had another. {kept}"
        )
