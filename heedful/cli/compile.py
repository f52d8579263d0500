"""`heedful compile`: the loops in C++, compiled ahead for machines without a compiler."""

from pathlib import Path
from typing import Annotated

import typer


def compile(
    folder: Annotated[Path, typer.Argument(help="Where to put the libraries; made if need be.")],
) -> None:
    """Compile heedful's loops ahead, for processors like this one.

        heedful compile loops

    Where there is a C++ compiler, heedful compiles on first use what runs several
    times as fast that way, and keeps it. For a machine without one, such as a
    small container, copy the folder there and set HEEDFUL_LOOPS to its path.
    """
    import subprocess

    from heedful.attention.kernels import additive, additive_steps, compiled, short
    from heedful.errors import HeedfulError
    from heedful.inference import library
    from heedful.layers import cells, dropout, gelu
    from heedful.objectives import softmax

    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for module in (additive, additive_steps, short, cells, dropout, gelu, softmax, library):
            typer.echo(compiled.ahead(module.SOURCE, folder))
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise HeedfulError(f"The C++ compiler failed: {said}") from error
    except OSError as error:
        raise HeedfulError(
            f"The loops cannot be compiled into {folder}: {error.strerror or error}. Install g++ or clang++, or name a "
            "compiler with CXX, and a folder that can be written."
        ) from error
    typer.echo(f"On a machine like this one: export {compiled.READY}={folder.resolve()}")
