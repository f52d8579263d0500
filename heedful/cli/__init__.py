"""The command line. Only `main` is for others; each command is a file of its own."""

from heedful.cli.app import main

__all__ = ["main"]
