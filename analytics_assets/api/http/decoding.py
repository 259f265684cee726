"""Undoes the compression of a response, within bounds."""

import zlib

from pyreqwest.response import Response

from analytics_assets.api.http.response import LargeResponseError, NoResponseError, RefusedResponseError

MOST_EXPANSION = 500
"""Bytes that a byte on the wire may stand for in an answer of more than a megabyte. Rows reach a tenth of it; what is
made to fill a memory reaches a thousand."""

SMALL = 1_000_000
"""Bytes of an answer that do no harm, however they were compressed."""


def decode(raw: bytes, response: Response, url: str, where: str, most: int) -> bytes | Exception:
    """The body without its compression, which is undone here so that it can be stopped; or what is wrong with it.

    An error that is raised keeps the body in memory for as long as anybody has the error.
    """
    encodings = [each.strip() for each in (read_header(response, "Content-Encoding") or "").lower().split(",")]
    body = raw
    for encoding in reversed(encodings):
        if encoding not in {"gzip", "x-gzip", "deflate"} or not body:
            continue
        try:
            body, is_whole = _unpack(body, encoding, most)
        except zlib.error as error:
            return NoResponseError(not_decodable(url, str(error)))
        if len(body) > max(SMALL, MOST_EXPANSION * len(raw)):
            return RefusedResponseError(
                f"{where} answered with {len(raw):,} bytes that unpack to more than {MOST_EXPANSION} times as many:"
                " nothing that holds rows does. Is this the API itself?"
            )
        if len(body) <= most and not is_whole:
            return NoResponseError(not_decodable(url, "it ends too early"))
    return body if len(body) <= most else too_large(where, most)


def _unpack(packed: bytes, encoding: str, most: int) -> tuple[bytes, bool]:
    """What is packed, one byte more than `most` at most, and whether that is the whole of it."""
    # Of deflate there are two kinds: as the standard has it, and without a header.
    bare = encoding == "deflate" and (packed[0] & 0x0F != 8 or int.from_bytes(packed[:2]) % 31)
    body = b""
    while packed and len(body) <= most:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
        body += unpack.decompress(packed, most + 1 - len(body))
        if not unpack.eof:
            return body, False
        # gzip may have several members.
        packed = unpack.unused_data if encoding.endswith("gzip") else b""
    return body, not packed


def read_header(response: Response, name: str) -> str | None:
    """A header; one that is no text counts as absent."""
    try:
        return response.get_header(name)
    except ValueError:
        return None


def too_large(where: str, most: int) -> LargeResponseError:
    """The error of a response that is larger than it may be."""
    return LargeResponseError(
        f"{where} answered with more than {most / 1e6:g} MB. If the API's pages are really so large, set"
        " sources.analytics.page_size to less, or max_response_mb to more."
    )


def not_decodable(url: str, why: str) -> str:
    """Says that a body cannot be decoded, and why."""
    return f"The answer of {url} cannot be decoded: its Content-Encoding does not fit its body (a proxy?): {why}."
