"""The page's server: what the page may ask, over HTTP on this machine.

    application = create(Studio([open_model("runs/multi30k-en-de")]))
    serve(application, listen("127.0.0.1", 0))      # until Ctrl-C

    GET  /api/models                                   the models, and what each asks for
    POST /api/scenes {"model", "texts"}                one pass of a model: all about it but the weights
    GET  /api/scenes/ID/...                            the weights, as much as is looked at: packed, see `packed`
    POST /api/growth, GET /api/compare                 a search step by step; two heads side by side

Every parameter is bounded. What goes wrong is one sentence, {"error": ...}.
"""

import ipaddress
import re
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from torch import Tensor

from heedful.attention import Rollout
from heedful.errors import HeedfulError
from heedful.viewing.addresses import HEADERS, LOOPBACK, refused
from heedful.viewing.bundle import bundle
from heedful.viewing.manifest import model_told
from heedful.viewing.packed import pack
from heedful.viewing.studio import Forgotten, Studio, View

PAGE = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# A book has some million characters.
BODY = 8 * 2**20
WEIGHTS = 2**20
# Weights that are made for one answer, where the answer is smaller than they are.
LOOKED_THROUGH = 2**26
# Rollout goes through all weights of all layers: so many take about a minute.
ROLLED_OUT = 2**32

Text = Annotated[str, Field(max_length=BODY)]
Name = Annotated[str, Field(max_length=256)]
Number = Annotated[int, Query(ge=0, le=2**31)]
Span = Annotated[str, Query(pattern=r"^\d{1,10}:\d{1,10}$")]


class Asked(BaseModel):
    """Texts for a model, by name."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: Name
    texts: Annotated[dict[Name, Text], Field(max_length=8)]


class Grown(Asked):
    """A search that is to be watched."""

    beam: Annotated[int, Field(ge=1, le=32)] = 4


def create(
    studio: Studio,
    opened: Mapping[str, Any] | None = None,
    hosts: Iterable[str] = LOOPBACK,
    page: Path = PAGE,
    everywhere: bool = False,
) -> FastAPI:
    """Give the application.

    opened: {"model", "texts"}, what the page begins with
    hosts: names that it may be called by
    everywhere: whether it listens at all addresses of this machine; then it may be called by any of them
    """
    app = FastAPI(title="heedful", docs_url=None, redoc_url=None, openapi_url=None)
    _guard(app, frozenset(hosts), everywhere)
    _tell_errors(app)
    _give_files(app, page)
    _give_scenes(app, studio, opened)
    _give_weights(app, studio)
    _give_more(app, studio)
    return app


def listen(host: str, port: int) -> socket.socket:
    """Take an address, where callers wait from now on; port 0 is any that is free.

    Raises HeedfulError where it is taken or not this machine's.
    """
    taken = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, protocol)
        # A port can be had again at once where it is set now and was set when the last callers came; of the free ones,
        # Linux would give one to two at a time.
        again = socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        if port:
            taken.setsockopt(*again)
        taken.bind(address)
        taken.setsockopt(*again)
        taken.listen()
    except (OSError, OverflowError) as error:
        if taken is not None:
            taken.close()
        raise HeedfulError(
            f"The page cannot be served at {host}, port {port}: {getattr(error, 'strerror', None) or error}; "
            "leave --port out to have any free one."
        ) from error
    return taken


def address_of(taken: socket.socket) -> str:
    """Give the address that a browser calls."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(app: FastAPI, taken: socket.socket, ready: Callable[[], None] = lambda: None) -> None:
    """Answer until Ctrl-C. `ready` is called when the first request can come."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        lifespan="off",
    )
    try:
        Server(config).run(sockets=[taken])
    except KeyboardInterrupt:
        pass
    finally:
        taken.close()


def _guard(app: FastAPI, hosts: frozenset[str], everywhere: bool) -> None:
    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Any]) -> Response:
        headers = request.headers
        names = hosts | {_came_to(request)} if everywhere else hosts
        reason = refused(headers.get("host"), headers.get("origin"), headers.get("sec-fetch-site"), names)
        opened = request.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if reason and opened and "does not answer" not in reason:
            reason = None  # a link to the page on another page: it is opened, not read
        length = headers.get("content-length", "0")
        if reason is not None:
            answer: Response = _error(403, reason)
        elif request.method == "POST" and ("content-length" not in headers or not length.isdecimal()):
            answer = _error(411, "A request must say how long it is.")
        elif int(length if length.isdecimal() else 0) > BODY:
            answer = _error(413, f"The texts are longer than {BODY // 2**20} MiB; take a part of them.")
        else:
            answer = await call_next(request)
        answer.headers.update(HEADERS)
        return answer


def _came_to(request: Request) -> str:
    """Give this machine's address that a request came to: of the socket, not what the request says of itself."""
    host = (request.scope.get("server") or ("",))[0]
    try:
        mapped = getattr(ipaddress.ip_address(host), "ipv4_mapped", None)
    except ValueError:
        return host
    return str(mapped or host)


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(HeedfulError)
    def known(request: Request, error: HeedfulError) -> Response:
        if isinstance(error, Forgotten):
            return _error(404, str(error), forgotten=True)
        return _error(400, str(error))

    @app.exception_handler(IndexError)
    def missing(request: Request, error: IndexError) -> Response:
        return _error(404, str(error))

    @app.exception_handler(ValueError)
    def impossible(request: Request, error: ValueError) -> Response:
        return _error(400, str(error))

    @app.exception_handler(HTTPException)  # Starlette's own, of which FastAPI's is a kind
    def refused_(request: Request, error: HTTPException) -> Response:
        return _error(error.status_code, str(error.detail))

    @app.exception_handler(404)
    def nowhere(request: Request, error: Exception) -> Response:
        return _error(404, getattr(error, "detail", None) or "There is nothing at this address.")

    @app.exception_handler(RequestValidationError)
    def wrong(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "request"
        return _error(422, f"{where}: {first['msg']}.")

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        traceback.print_exception(error, file=sys.stderr)
        answer = _error(
            500, f"heedful failed at this ({type(error).__name__}); the terminal it runs in says more."
        )
        answer.headers.update(HEADERS)  # this answer does not pass the guard
        return answer


def _give_files(app: FastAPI, page: Path) -> None:
    # Listed once: no path from outside ever reaches the file system.
    files = {file.name: file for file in sorted(page.iterdir()) if file.suffix in _TYPES}
    # The page's script with all that it imports: asked for one by one, in waves, they keep the first picture waiting.
    sources = {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.suffix == ".js"}
    script = bundle(sources, "main.js")

    @app.get("/")
    def index() -> Response:
        return file_of("index.html")

    @app.get("/page/{name}")
    def module(name: str) -> Response:
        return file_of(name)

    def file_of(name: str) -> Response:
        if name not in files:
            return _error(404, "There is no such file.")
        if name == "main.js":
            return Response(script, media_type=_TYPES[".js"])
        return FileResponse(files[name], media_type=_TYPES[files[name].suffix])


def _give_scenes(app: FastAPI, studio: Studio, opened: Mapping[str, Any] | None) -> None:
    @app.get("/api/models")
    def models() -> Any:
        told = [model_told(model, number) for number, model in studio.models.items()]
        return {"models": told, "opened": opened}

    @app.post("/api/scenes")
    def scenes(asked: Asked) -> Any:
        return studio.open(asked.model, asked.texts).manifest

    @app.get("/api/scenes/{id_}/statistics")
    def statistics(id_: str) -> Response:
        return _packed(statistics_of(studio.view(id_)))

    @app.get("/api/scenes/{id_}/thumbnails")
    def thumbnails(id_: str, size: Annotated[int, Query(ge=1, le=512)] = 48) -> Response:
        view = studio.view(id_)
        content = thumbnails_of(view, size)
        view.look_at_all()
        return _packed(content)


def _give_weights(app: FastAPI, studio: Studio) -> None:
    at = "/api/scenes/{id_}/maps/{number}/heads/{head}"

    @app.get(at + "/tiles/{level}/{row}/{column}")
    def tile(id_: str, number: int, head: str, level: int, row: int, column: int) -> Response:
        found = studio.view(id_).pyramid(number, head_of(head)).tile(level, row, column)
        arrays = {"mean": numbers(found.mean)}
        if found.maximum is not None:
            arrays["maximum"] = numbers(found.maximum)
        return _packed(pack({"sampled": found.sampled}, arrays))

    @app.get(at + "/tracks")
    def tracks(id_: str, number: int, head: str) -> Response:
        return _packed(tracks_of(studio.view(id_), number, head_of(head)))

    @app.get(at + "/weights")
    def weights(id_: str, number: int, head: str, rows: Span, keys: Span) -> Response:
        record = studio.view(id_).head(number, head_of(head))
        some, columns = _span(rows, record.shape[2]), _span(keys, record.shape[3])
        _bound("weights", (some.stop - some.start) * (columns.stop - columns.start), WEIGHTS)
        return _packed(pack({}, {"weights": numbers(record.weights(some, columns)[0, 0])}))

    @app.get(at + "/top")
    def top(
        id_: str, number: int, head: str, rows: Span, k: Annotated[int, Query(ge=1, le=256)] = 8
    ) -> Response:
        record = studio.view(id_).head(number, head_of(head))
        some = _span(rows, record.shape[2])
        _bound("weights", (some.stop - some.start) * record.shape[3], LOOKED_THROUGH)
        made = record.weights(some)[0, 0]
        values, places = made.topk(min(k, record.shape[3]))
        places = places.masked_fill(values == 0, -1).cpu().numpy().astype(np.int32)
        # Not all rows sum to one: not with a sink or a window, nor where the other keys are in another map.
        return _packed(pack({}, {"weights": numbers(values), "keys": places, "sums": numbers(made.sum(-1))}))


def _give_more(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/scenes/{id_}/maps/{number}/heads/{head}/arithmetic")
    def arithmetic(id_: str, number: int, head: int, query: Number) -> Response:
        from heedful.viewing.arithmetic import explain

        view = studio.view(id_)
        view.map(number)
        return _packed(explain(view.scene, number, head, query))

    @app.get("/api/scenes/{id_}/rollout")
    def rollout(
        id_: str,
        output: Annotated[int | None, Query(ge=0, le=2**31)] = None,
        received: Literal["1"] | None = None,
    ) -> Response:
        return _packed(rollout_of(studio.view(id_), None if received else output))

    @app.get("/api/scenes/{id_}/attribution")
    def attribution(
        id_: str, output: Number, method: Literal["gradient", "integrated"] = "gradient"
    ) -> Response:
        from heedful.viewing.attribution import attribute

        return _packed(attribute(studio.view(id_).scene, output, method))

    @app.post("/api/growth")
    def growth(asked: Grown) -> Any:
        from heedful.viewing.growth import grow

        model = studio.model(asked.model)
        if not model.writes:
            raise HeedfulError(f"{model.title} has no search that could be watched.")
        return grow(model.model, asked.texts, asked.beam)

    @app.get("/api/scenes/{id_}/forced")
    def forced(id_: str) -> Any:
        from heedful.viewing.growth import forced as forced_

        view = studio.view(id_)
        return forced_(view.scene, studio.model(view.model).model)

    @app.get("/api/compare")
    def compare(
        left: Annotated[str, Query(max_length=64)], right: Annotated[str, Query(max_length=64)]
    ) -> Response:
        from heedful.viewing.comparison import Compared
        from heedful.viewing.comparison import compare as compared

        sides: list[Any] = []
        for side in (left, right):
            found = re.fullmatch(r"(\w+)\.(\d{1,6})\.(mean|\d{1,6})", side)
            if found is None:
                raise HeedfulError(
                    f"What is compared is a scene, a map and a head: ID.MAP.HEAD, got {side!r}."
                )
            view = studio.view(found[1])
            view.map(int(found[2]))
            sides.append(Compared(view.scene, int(found[2]), head_of(found[3])))
        return _packed(compared(*sides))


def statistics_of(view: View) -> bytes:
    """Give the statistics of all heads, packed; of a long text those of some queries."""
    from heedful.viewing.head_statistics import EXPLAINED, head_statistics, is_sampled

    def make() -> bytes:
        names, found = head_statistics(view.scene)
        arrays = {f"map{number}": numbers(of) for number, of in enumerate(found)}
        told = {
            "names": list(names),
            "explained": EXPLAINED,
            "sampled": any(map(is_sampled, view.scene.maps)),
        }
        return pack(told, arrays)

    return view.made("statistics", make)


def thumbnails_of(view: View, size: int) -> bytes:
    """Give all heads in small, packed."""
    arrays: dict[str, np.ndarray] = {}
    cells, sampled = [], False
    for number in range(len(view.scene.maps)):
        mean, maximum, cell, some = view.thumbnail(number, size)
        arrays[f"mean{number}"] = numbers(mean).astype(np.float16)
        arrays[f"maximum{number}"] = numbers(maximum).astype(np.float16)
        cells.append(list(cell))
        sampled = sampled or some
    return pack({"cells": cells, "sampled": sampled}, arrays)


def tracks_of(view: View, number: int, head: int | None) -> bytes:
    """Give what is told of each query and each key, packed."""
    found = view.pyramid(number, head).tracks()
    arrays = {name: getattr(found, name) for name in ("entropy", "largest", "position", "received")}
    arrays["received_by_field"] = found.received / found.seen.clamp_min(1)
    return pack({"sampled": found.sampled}, {name: numbers(of) for name, of in arrays.items()})


def rollout_of(view: View, output: int | None) -> bytes:
    """Give what an output draws from every axis, packed; for None, what all outputs together draw.

    Raises HeedfulError where layers cannot be followed or it would take long.
    """
    scene = view.scene
    if not scene.steps:
        raise HeedfulError(f"The layers of {scene.model} cannot be followed one through the other.")
    _bound("weights", sum(int(np.prod(step.record.shape)) for step in scene.steps), ROLLED_OUT)

    def make() -> bytes:
        rollout = Rollout(scene.steps)
        found = rollout.received() if output is None else rollout.rows([output])
        return pack({}, {name: numbers(of.flatten()) for name, of in found.items()})

    return view.made(f"rollout {output}", make)


def head_of(head: str) -> int | None:
    """Give the number of a head, None for "mean". Raises HeedfulError for anything else."""
    if head == "mean":
        return None
    if not re.fullmatch(r"\d{1,6}", head):
        raise HeedfulError(f'A head is a number or "mean", got {head!r}.')
    return int(head)


def numbers(tensor: Tensor) -> np.ndarray:
    """Give a tensor as float32 for packing."""
    return tensor.detach().to("cpu", torch.float32).numpy()


def _span(told: str, length: int) -> slice:
    start, stop = map(int, told.split(":"))
    return slice(min(start, length), min(max(start, stop), length))


def _bound(what: str, count: int, most: int) -> None:
    if count > most:
        raise HeedfulError(
            f"That would take {count:,} {what}; at most {most:,} are made at once. Take a smaller part."
        )


def _packed(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")


def _error(status: int, sentence: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": sentence, **more}, status_code=status)
