"""Ways to damage a file: bytes turned, cut, doubled, lengths that lie; JSON with values of other kinds."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

from hypothesis import strategies as st

NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
HEAD = 512  # bytes; most of what steers a reader is there
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 3, 17, 2**31, 2**63, 10**30, -0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "0", "../../x", "/etc/passwd", "a" * 300, "\0", "µ\ud800", [], [1], [[]], [None], {}, {"a": 1}),
)
TEXTS = (b",", b";", b"\n", b'"', b"\0", b"nan", b"1e999", b"-1", b"\xff\xfe", b"x,y,radius\n", b"9" * 40, b"'", b"\t")


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file of any kind with some of its bytes not as they were."""
    if draw(st.integers(0, 9)) == 0 and (made := draw(_structured(content))) is not None:
        return made
    text = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        _one(draw, text)
    return bytes(text)


@st.composite
def json_in(draw: st.DrawFn, content: bytes) -> bytes:
    """A JSON file, or the heading of a safetensors file, with some values of other kinds; other files as `damaged`."""
    made = draw(_structured(content)) if draw(st.integers(0, 4)) else None
    return draw(damaged(content)) if made is None else made


@st.composite
def _structured(draw: st.DrawFn, content: bytes) -> bytes | None:
    if content[:1] == b"{":
        return _text(draw, json.loads(content))
    length = struct.unpack("<Q", content[:8])[0] if len(content) > 8 else 0
    if 2 < length < len(content) and content[8:9] == b"{":
        heading = json.loads(content[8 : 8 + length])
        about = heading.get("__metadata__", {})
        inner = [k for k, v in about.items() if v[:1] in "{["]
        if inner and draw(st.booleans()):
            name = draw(st.sampled_from(sorted(inner)))
            about[name] = _text(draw, json.loads(about[name])).decode("utf-8", "replace")
            made = json.dumps(heading).encode()
        else:
            made = _text(draw, heading)
        return struct.pack("<Q", len(made)) + made + content[8 + length :]
    return None


def _text(draw: st.DrawFn, value: Any) -> bytes:
    if draw(st.integers(0, 40)) == 0:
        return b"[" * draw(st.sampled_from([100, 100_000]))
    for _ in range(draw(st.integers(1, 3))):
        value = _changed(draw, value)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """Walk down to some node, and put something else there, or nothing."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 5)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        if draw(st.integers(0, 7)) == 0:
            del value[key]
        else:
            value[key] = _changed(draw, value[key])
        return value
    return copy.deepcopy(draw(st.sampled_from(VALUES)))  # later changes must not reach the list


def _one(draw: st.DrawFn, text: bytearray) -> None:
    where = draw(st.integers(0, min(len(text), HEAD))) if draw(st.booleans()) else draw(st.integers(0, len(text)))
    way = draw(st.integers(0, 6))
    if way == 0:
        del text[where:]
    elif way == 1:
        text[where : where + 1] = bytes([draw(st.integers(0, 255))])
    elif way == 2:
        kind = draw(st.sampled_from(["<H", ">H", "<I", ">I", "<Q"]))
        number = struct.pack(kind, draw(st.sampled_from(NUMBERS)) % 256 ** struct.calcsize(kind))
        text[where : where + len(number)] = number
    elif way == 3:
        del text[where : where + draw(st.integers(1, 64))]
    elif way == 4:
        piece = text[where : where + draw(st.integers(1, 64))]
        text[where:where] = piece * draw(st.integers(1, 20))
    elif way == 5:
        text[where : where + draw(st.integers(0, 4))] = draw(st.sampled_from(TEXTS))
    elif where < len(text):
        text[where] ^= 1 << draw(st.integers(0, 7))
