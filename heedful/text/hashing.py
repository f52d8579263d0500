"""Numbers for strings, without a list of them: the hashing trick (Weinberger et al. 2009)."""

from zlib import crc32

BUCKETS = 1 << 16


def bucket(text: str) -> int:
    """The number of a string, from 0 to before BUCKETS; others may have it too."""
    return crc32(text.encode("utf-8", "surrogatepass")) % BUCKETS
