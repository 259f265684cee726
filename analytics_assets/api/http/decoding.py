"""Decompresses the body of a response, within limits."""

import zlib
from gzip import BadGzipFile, GzipFile
from io import BytesIO

from pyreqwest.response import Response

from analytics_assets.api.http.response import LargeResponseError, NoResponseError, RefusedResponseError

MOST_EXPANSION = 500
"""Decompressed bytes per byte on the wire, at most, in a response larger than `SMALL`. Rows reach a tenth of it; a
decompression bomb reaches a thousand."""

GZIP = b"\x1f\x8b"
"""The first bytes of each member of a gzip body."""

SMALL = 1_000_000
"""Bytes of a response that are harmless, however much they were compressed."""


def decode(raw: bytes, response: Response, url: str, shown_url: str, max_bytes: int) -> bytes | Exception:
    """Returns the decompressed body, or the error of a body that is broken or too large.

    The HTTP client could decompress, too, but would not stop at a limit. The error is returned and not raised, because
    the traceback of a raised error would keep the body in memory.

    Args:
        raw: Body as it came over the wire.
        response: Its header `Content-Encoding` names the compression: gzip, deflate or several.
        url: URL of the request, for errors of the connection.
        shown_url: URL as it begins the other errors.
        max_bytes: Most bytes of the decompressed body.
    """
    encodings = [each.strip() for each in (read_header(response, "Content-Encoding") or "").lower().split(",")]
    body = raw
    for encoding in reversed(encodings):
        if encoding not in {"gzip", "x-gzip", "deflate"} or not body:
            continue
        try:
            body, is_whole = _unpack(body, encoding, max_bytes)
        except zlib.error as error:
            return NoResponseError(not_decodable(url, str(error)))
        if len(body) > max(SMALL, MOST_EXPANSION * len(raw)):
            return RefusedResponseError(
                f"{shown_url} answered with {len(raw):,} bytes that unpack to more than {MOST_EXPANSION} times as many:"
                " no list of rows does that. Is this the API itself?"
            )
        if len(body) <= max_bytes and not is_whole:
            return NoResponseError(not_decodable(url, "it ends too early"))
    return body if len(body) <= max_bytes else too_large(shown_url, max_bytes)


def _unpack(packed: bytes, encoding: str, max_bytes: int) -> tuple[bytes, bool]:
    """Returns up to `max_bytes` + 1 decompressed bytes, and whether they are the whole body."""
    if encoding != "deflate" and packed.startswith(GZIP):
        # gzip may have several members, and a hostile body has millions: `GzipFile` copies none of the rest for each.
        try:
            return GzipFile(fileobj=BytesIO(packed)).read(max_bytes + 1), True
        except EOFError:
            return b"", False
        except BadGzipFile as error:
            raise zlib.error(str(error)) from error
    # The standard's deflate has a zlib header, but some servers send it without one.
    is_bare = encoding == "deflate" and (packed[0] & 0x0F != 8 or int.from_bytes(packed[:2]) % 31)
    unpack = zlib.decompressobj(-zlib.MAX_WBITS if is_bare else zlib.MAX_WBITS)
    body = unpack.decompress(packed, max_bytes + 1)
    return body, unpack.eof and (encoding == "deflate" or not unpack.unused_data)


def read_header(response: Response, name: str) -> str | None:
    """Returns the value of a header; `None` if it is absent or no text."""
    try:
        return response.get_header(name)
    except ValueError:
        return None


def too_large(shown_url: str, max_bytes: int) -> LargeResponseError:
    """Returns the error of a response that exceeds `max_bytes`."""
    return LargeResponseError(
        f"{shown_url} answered with more than {max_bytes / 1e6:g} MB. If the API's pages are really so large, set"
        " the setting page_size to less, or max_response_mb to more."
    )


def not_decodable(url: str, reason: str) -> str:
    """Returns the message of a body that cannot be decoded."""
    return f"The response of {url} cannot be decoded: its Content-Encoding does not fit its body (a proxy?): {reason}."
