"""One file for each way to compute the same number."""
