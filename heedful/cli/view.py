"""`heedful view`: a page that shows what models attend to, served on this machine or saved as one file."""

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

if TYPE_CHECKING:
    from heedful.viewing.looking import Opened
    from heedful.viewing.studio import Studio, View

_WHERE = "The text, or a file that it stands in."


def view(
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Model folders, runs, or folders of transformers models; the first two are compared."
        ),
    ],
    text: Annotated[
        list[str] | None, typer.Option("--text", "--source", help=f"{_WHERE} Given twice, two are compared.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="The second text: a translation of your own, or what a reader finds answers in."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the page into one .html file, instead of serving it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --save.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    host: Annotated[
        str, typer.Option(help="The address to answer at; anything but this machine's own lets others in.")
    ] = "127.0.0.1",
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser", help="Open the page in a browser.", show_default="it is opened"
        ),
    ] = True,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Look inside a model: who attends to what, in every layer and head, at any length.

    heedful view runs/multi30k-en-de

    heedful view bert-folder --text couch.txt --text sofa.txt

    heedful view runs/luong --source "ein Text" --save page.html
    """
    from heedful.errors import DataError
    from heedful.machine import prepare

    if save is not None and not text:
        raise DataError("A saved page shows a pass over a text: give one with --text or --source.")
    if text is not None and len(text) > 2:
        raise DataError(f"Two texts can stand side by side, got {len(text)}.")
    prepare(threads)  # before PyTorch is loaded
    from heedful.cli.input import text_or_file
    from heedful.cli.output import check
    from heedful.viewing.looking import open_model
    from heedful.viewing.studio import Studio

    if save is not None:
        check(save, overwrite)
    texts = [text_or_file(each) for each in text or []]
    second = None if target is None else text_or_file(target)
    studio = Studio([open_model(path, device) for path in models])
    # Each model reads each text; those side by side are the first two.
    views = [
        studio.open(number, _named(opened, each, second))
        for number, opened in studio.models.items()
        for each in texts
    ]
    if save is not None:
        _save(studio, views, save, overwrite)
    else:
        _serve(studio, views, host, port, browser)


def _named(opened: "Opened", first: str, second: str | None) -> dict[str, str]:
    """Give texts the names that the model asks for them by."""
    from heedful.errors import DataError

    names = [ask.name for ask in opened.asks]
    if second is not None and len(names) < 2:
        raise DataError(f"{opened.title} reads one text, its {names[0]}; leave --target out.")
    return {names[0]: first} | ({} if second is None else {names[1]: second})


def _save(studio: "Studio", views: "list[View]", path: Path, overwrite: bool) -> None:
    from heedful.cli.output import writing
    from heedful.viewing.saved import page

    made = page(studio, views, told=lambda line: print(f"keeping {line}", file=sys.stderr))
    with writing(path, overwrite) as file:
        file.write(made.html)
    print(f"{path}: {_size(made.bytes)}, opens without a server or a network")
    for line in made.contents:
        print(f"  {line}")


def _serve(studio: "Studio", views: "list[View]", host: str, port: int, browser: bool) -> None:
    import ipaddress
    import socket

    from heedful.viewing import server
    from heedful.viewing.addresses import LOOPBACK

    hosts = set(LOOPBACK)
    taken = server.listen(host, port)
    here = taken.getsockname()[0]
    everywhere = ipaddress.ip_address(here).is_unspecified
    if not ipaddress.ip_address(here).is_loopback:
        hosts |= {host, here}
        # Others call it by an address of this machine, or by its name; by no other, which may be DNS rebinding.
        if everywhere:
            hosts.add(socket.gethostname())
        print(
            f"warning: whoever reaches {host} can read these texts and ask these models; there is no password",
            file=sys.stderr,
        )
    address = server.address_of(taken)
    first = next(iter(views), None)
    opened = None if first is None else {"model": first.model, "texts": dict(first.scene.texts)}
    app = server.create(studio, opened, hosts, everywhere=everywhere)
    start = address + _state(views)

    def ready() -> None:
        print(f"{address}  (Ctrl-C ends)", flush=True)
        if browser and not _opens(start):
            print("There is no browser here: open the address in one.", file=sys.stderr)

    server.serve(app, taken, ready)


def _state(views: "list[View]") -> str:
    """What the page begins with, as it stands in its address: two side by side, where there are two."""
    if len(views) < 2:
        return ""
    one, other = views[:2]
    state = {"view": "compare", "model": one.model, "other.model": other.model}
    for prefix, view_ in (("t.", one), ("other.t.", other)):
        state |= {prefix + name: text for name, text in view_.scene.texts.items() if text}
    return "#" + urlencode(state)


def _opens(address: str) -> bool:
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
