"""The text that programs leave in PNG files. Pixels are not looked at."""

from __future__ import annotations

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_TEXT_BYTES = 1 << 20


def parameters_text_of_png(png: bytes) -> str:
    """The text `parameters`; of several the first. Raises ValueError, one line."""
    if not png.startswith(SIGNATURE):
        raise ValueError("it is no PNG file")
    keywords: set[bytes] = set()
    at = len(SIGNATURE)
    while True:
        size = int.from_bytes(png[at : at + 4], "big")
        end = at + 12 + size
        if len(png) < at + 12 or end > len(png):
            raise _broken("it ends too early")
        kind, data = png[at + 4 : at + 8], png[at + 8 : end - 4]
        if zlib.crc32(png[at + 4 : end - 4]) != int.from_bytes(png[end - 4 : end], "big"):
            raise _broken("a checksum is wrong")
        if at == len(SIGNATURE) and kind != b"IHDR":
            raise _broken("it does not begin with its header")
        if kind == b"IEND":
            raise _nothing_in(keywords)
        keyword, separator, rest = data.partition(b"\0")
        if kind in (b"tEXt", b"zTXt", b"iTXt") and separator:
            if keyword == b"parameters":
                return _text_of(kind, rest)
            keywords.add(keyword)
        at = end


def _text_of(kind: bytes, rest: bytes) -> str:
    if kind == b"tEXt":
        return _taken(rest, packed=False).decode("latin-1")
    if kind == b"zTXt":
        if rest[:1] != b"\0":
            raise _broken("its text has an unknown form")
        return _taken(rest[1:], packed=True).decode("latin-1")
    # Two flags, the language, the keyword in that language, the text.
    parts = rest[2:].split(b"\0", 2)
    if len(parts) != 3 or rest[0] > 1 or (rest[0] == 1 and rest[1] != 0):
        raise _broken("its text has an unknown form")
    text = _taken(parts[2], packed=rest[0] == 1)
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise _broken("its text is no UTF-8") from None


def _taken(text: bytes, *, packed: bool) -> bytes:
    if packed:
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(text, MAX_TEXT_BYTES + 1)
        except zlib.error:
            raise _broken("its text cannot be unpacked") from None
        if not unpacker.eof and len(text) <= MAX_TEXT_BYTES:
            raise _broken("its text cannot be unpacked")
    if len(text) > MAX_TEXT_BYTES:
        raise _broken("its text is longer than 1 MiB")
    return text


def _nothing_in(keywords: set[bytes]) -> ValueError:
    if keywords & {b"workflow", b"prompt"}:
        return ValueError("it holds a workflow of ComfyUI, which is not read; only A1111's text is")
    if b"invokeai_metadata" in keywords:
        return ValueError(
            "it holds parameters of InvokeAI, which are not read; only A1111's text is"
        )
    return ValueError('it holds no text "parameters" to draw it from')


def _broken(what: str) -> ValueError:
    return ValueError(f"it is a PNG file that cannot be read: {what}")
