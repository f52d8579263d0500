"""The special tokens, the same ids in every vocabulary.

All vocabularies have the first four. A fifth stands for what a masked language model shall guess, in those that are
learned for one (`TokenizerSettings.mask`); in others its id is that of an ordinary entry.
"""

PAD = 0
START = 1
END = 2
UNKNOWN = 3
MASK = 4

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
MASK_TOKEN = "<mask>"  # noqa: S105 -- no password
