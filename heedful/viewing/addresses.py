"""Who may ask a page's server: the browser on this machine, and no other page that is open in it.

A server on the loopback address is reached by every web page that the browser shows, unless it looks closely: at the
host it is called by (a foreign name that leads here is DNS rebinding), and at the page that asks (the origin).
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

HEADERS = {
    # Nothing from elsewhere, nothing written into the page, no frames but its own.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Texts that were looked at stay out of the browser's cache on disk.
    "Cache-Control": "no-store",
}
"""What every answer says of itself."""


def refused(
    host: str | None, origin: str | None, fetched_from: str | None, hosts: Iterable[str]
) -> str | None:
    """Say why a request is not answered, or None.

    host, origin, fetched_from: its headers Host, Origin and Sec-Fetch-Site
    hosts: the names that the server may be called by, without port
    """
    try:
        name = urlsplit(f"//{host}").hostname if host else None
        there = urlsplit(origin).netloc if origin and origin != "null" else origin
    except ValueError:
        return "The address of this request cannot be read."
    if name is None or name not in {each.lower() for each in hosts}:
        return f"This server does not answer to the name {name or ''!r}."
    if there is not None and there != host:
        return "Other pages may not ask this server."
    if fetched_from in ("cross-site", "same-site"):
        return "Other pages may not ask this server."
    return None
