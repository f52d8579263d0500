"""Errors that a user can cause, each saying what was wrong, where, and what to do.

The command line prints the message of a `HeedfulError` without a traceback and exits with status 2.
A mistake in a program that calls heedful (a wrong shape, say) is a plain `ValueError` or `TypeError`.
"""


class HeedfulError(Exception):
    """Something in the user's hands is wrong: a file, a setting, a folder, a missing extra."""


class DataError(HeedfulError):
    """A corpus cannot be read as it stands: missing, unequal, not UTF-8, wrong format."""


class RecipeError(HeedfulError):
    """A recipe has an unknown key, a value of the wrong kind, or settings that contradict each other."""


class TokenizerError(HeedfulError):
    """A tokenizer cannot be trained or loaded, or does not fit the model beside it."""


class ModelFolderError(HeedfulError):
    """A model folder is missing a part, damaged, or made for something else."""


class CheckpointError(HeedfulError):
    """A checkpoint is damaged, or belongs to another recipe."""


class TrainingError(HeedfulError):
    """Training cannot go on: a loss that is not finite, memory that does not suffice, a full disk."""
