"""One file from one address over https, written to a partial file that a later try goes on with."""

from __future__ import annotations

import json
import re
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from covidct import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message
    from http.client import HTTPResponse
    from pathlib import Path

    Advance = Callable[[int, int | None], None]

__all__ = ("TransferError", "drop_partial", "transfer")

_PLAIN_HTTP: frozenset[str] = frozenset()
"""Hosts that plain http is taken from: none. The tests put the server that they start here."""

_TIMEOUT = 30.0  # seconds without a byte
_BLOCK = 1 << 18
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # answers of a server that may give another one soon
_BEYOND = 416  # range not satisfiable
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class TransferError(Exception):
    """An address did not give the file.

    Attributes:
        again: whether the same address may give it at another try.
        wrong: whether what came is no part of the file.
    """

    def __init__(self, reason: str, *, again: bool = False, wrong: bool = False) -> None:
        """Keep the reason in words."""
        super().__init__(reason)
        self.again, self.wrong = again, wrong


class _Redirects(HTTPRedirectHandler):
    """Redirects to https alone."""

    def redirect_request(
        self,
        req: Request,
        fp: Any,  # noqa: ANN401
        code: int,
        msg: str,
        headers: Any,  # noqa: ANN401
        newurl: str,
    ) -> Request | None:
        _require_https(newurl, "it redirects to")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(url: str, partial: Path, *, size: int | None, advance: Advance) -> None:
    """Bring ``partial`` to the whole file, from where an earlier try from this address was cut.

    An earlier part is gone on with only where the server says by its validator (``ETag``, else ``Last-Modified``) that
    the file is still the same; what validates the part is kept beside it.

    Args:
        url: https address.
        partial: file to write.
        size: bytes of the whole file, where they are known; no more are written.
        advance: called with the bytes that are there, and those of the whole file or None.

    Raises:
        TransferError: when the file did not come whole, or something else came; both stay in ``partial``.
        OSError: when ``partial`` cannot be written.
    """
    _require_https(url, "the address is")
    begun, validator = _begun(url, partial)
    if begun and begun == size:  # an earlier process ended before it could compare the digest
        return
    with _open(url, begun, validator) as response:
        start = _start(response, begun)
        whole = _whole(response, start)
        block = _read(response)
        if not start:
            _require_no_page(response.headers, block)
        if size is not None and whole is not None and whole != size:
            raise TransferError(f"it has {whole} bytes instead of {size}", wrong=True)
        _remember(url, partial, response.headers)
        there = start
        with partial.open("ab" if start else "wb") as file:
            while block:
                there += len(block)
                if size is not None and there > size:
                    raise TransferError(f"it has more bytes than {size}", wrong=True)
                file.write(block)
                advance(there, size or whole)
                block = _read(response)
    if whole is not None and there < whole:
        raise TransferError(f"the connection was cut after {there} of {whole} bytes", again=True)


def drop_partial(partial: Path) -> None:
    """Remove a partial file and what validates it."""
    partial.unlink(missing_ok=True)
    _validator_file(partial).unlink(missing_ok=True)


def _require_https(url: str, what: str) -> None:
    """Refuse every scheme but https, which alone keeps a file from being exchanged on its way."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _PLAIN_HTTP):
        raise TransferError(f"{what} {parts.scheme or 'no'}://{parts.hostname or ''}, and only https is taken")


def _open(url: str, begun: int, validator: str) -> HTTPResponse:
    """The answer of the server, after redirects."""
    headers = {"User-Agent": f"covidct/{__version__}", "Accept-Encoding": "identity"}
    if begun:
        headers |= {"Range": f"bytes={begun}-", "If-Range": validator}
    try:
        answer: HTTPResponse = build_opener(_Redirects).open(  # https alone, see _require_https
            Request(url, headers=headers),  # noqa: S310
            timeout=_TIMEOUT,
        )
    except HTTPError as error:
        with error:
            beyond = error.code == _BEYOND and begun > 0  # there are not that many bytes: the part is of another file
            raise TransferError(
                f"the server answers {error.code} {error.reason}",
                again=beyond or error.code in _TRY_AGAIN,
                wrong=beyond,
            ) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TransferError(str(reason) or type(reason).__name__, again=isinstance(reason, TimeoutError)) from error
    return answer


def _read(response: HTTPResponse) -> bytes:
    """The next bytes; none at the end."""
    try:
        return response.read(_BLOCK)
    except (OSError, HTTPException) as error:
        raise TransferError(f"the connection was cut ({error or type(error).__name__})", again=True) from error


def _start(response: HTTPResponse, begun: int) -> int:
    """Where the answer begins in the file: 0 where the server gives the whole of it."""
    if response.status != 206:
        return 0
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not begun or found is None or int(found[1]) != begun:
        raise TransferError("the server gives another part of the file than was asked for", wrong=True)
    return begun


def _whole(response: HTTPResponse, start: int) -> int | None:
    """Bytes of the whole file, where the answer tells."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _require_no_page(headers: Message, block: bytes) -> None:
    """Refuse a web page, which proxies, logins and error pages send in place of a file, with status 200."""
    kind = headers.get("Content-Type", "")
    if kind.lower().startswith("text/html") or block[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise TransferError(
            "the server sends a web page instead of the file (a login, proxy or error page?)", wrong=True
        )


def _begun(url: str, partial: Path) -> tuple[int, str]:
    """Bytes that are there of this address, and what validates them; (0, "") to begin from the start."""
    try:
        known = json.loads(_validator_file(partial).read_text(encoding="utf-8"))
        size = partial.stat().st_size
    except (OSError, ValueError):
        return 0, ""
    if not isinstance(known, dict) or known.get("url") != url or not isinstance(known.get("validator"), str):
        return 0, ""
    return (size, known["validator"]) if size else (0, "")


def _remember(url: str, partial: Path, headers: Message) -> None:
    """Keep what validates the part that is about to be written; a weak tag does not."""
    tag = headers.get("ETag", "")
    validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    path = _validator_file(partial)
    if validator:
        path.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def _validator_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")
