"""The four special tokens, the same ids in every vocabulary."""

PAD = 0
START = 1
END = 2
UNKNOWN = 3

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
