"""The curves of a run for TensorBoard, an extra: `pip install 'heedful[tensorboard]'`."""

from pathlib import Path

from heedful.errors import TrainingError


class Board:
    """Writes curves to a folder that `tensorboard --logdir` reads; after a resume they go on."""

    def __init__(self, folder: Path, first_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "training.tensorboard needs an extra: pip install 'heedful[tensorboard]', or set it to false."
            ) from error
        # What was written after the checkpoint that the run goes on from is dropped, as in log.jsonl.
        self._writer = SummaryWriter(folder, purge_step=first_step, flush_secs=10)

    def add(self, step: int, **values: float) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
