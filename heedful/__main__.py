"""`python -m heedful`: the command, also where its script is not on the path."""

from heedful.cli import main

main()
