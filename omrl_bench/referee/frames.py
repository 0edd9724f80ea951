"""Messages between referee and method: a JSON header and raw arrays over one socket, and no pickle.

A frame is two lengths (header, body), a header ``{..., "arrays": [[name, dtype, shape], ...]}`` and the arrays' bytes.
Whoever receives it decides how long it may be: nothing is allocated before the lengths are known and allowed.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

LONGEST_HEADER = 1 << 20  # bytes
_LENGTHS = struct.Struct("!IQ")
_KINDS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
#: Types of numbers that cross, as NumPy writes them.
DTYPES = frozenset(np.dtype(kind).str for kind in _KINDS)


class FrameError(Exception):
    """What came is no frame, or longer than allowed."""


class ClosedError(Exception):
    """Nobody is at the other end any more."""


class Channel:
    """One end of the socket.

    Args:
        connection: A connected stream socket.
        longest: Bytes that the arrays of a received frame may take.
    """

    def __init__(self, connection: socket.socket, longest: int) -> None:
        self.connection, self.longest = connection, longest

    def send(self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Send a message and arrays of :data:`DTYPES`.

        Raises:
            ClosedError: if nobody is there.
            FrameError: if the message is too long, or no JSON.
        """
        contiguous = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
        # ascontiguousarray makes a scalar a vector
        shapes = [[name, contiguous[name].dtype.str, list(array.shape)] for name, array in (arrays or {}).items()]
        try:
            header = json.dumps({**message, "arrays": shapes}, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise FrameError(f"a message that JSON cannot hold: {error}") from error
        if len(header) > LONGEST_HEADER:
            raise FrameError(f"a message of {len(header)} bytes; at most {LONGEST_HEADER}")
        bodies = [array.reshape(-1).data.cast("B") for array in contiguous.values() if array.nbytes]
        start = _LENGTHS.pack(len(header), sum(body.nbytes for body in bodies)) + header
        try:
            if sum(map(len, bodies)) < 1 << 16:  # one call to the system
                self.connection.sendall(b"".join([start, *bodies]))
                return
            self.connection.sendall(start)
            for body in bodies:
                self.connection.sendall(body)
        except OSError as error:
            raise ClosedError from error

    def receive(self, timeout: float | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Wait for a message and its arrays.

        Args:
            timeout: Seconds that the other end may be silent; None for any time.

        Raises:
            ClosedError: if nobody is there.
            FrameError: if what came is no frame, or longer than allowed.
            TimeoutError: if nothing comes.
        """
        try:
            self.connection.settimeout(timeout)
            header_length, body_length = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
            if header_length > LONGEST_HEADER:
                raise FrameError(f"a message of {header_length} bytes; at most {LONGEST_HEADER}")
            message, shapes = _parsed(self._exactly(header_length))
            sizes = [np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in shapes]
            if sum(sizes) != body_length or body_length > self.longest:
                raise FrameError(f"arrays of {max(body_length, sum(sizes))} bytes; at most {self.longest}")
            arrays = {}
            for name, dtype, shape in shapes:
                arrays[name] = array = np.empty(shape, dtype)
                if array.nbytes:
                    self._fill(array.reshape(-1).data.cast("B"))
        except TimeoutError:
            raise
        except OSError as error:
            raise ClosedError from error
        finally:
            with suppress(OSError):
                self.connection.settimeout(None)
        return message, arrays

    def close(self) -> None:
        """Let the other end know that it is over."""
        self.connection.close()

    def _exactly(self, count: int) -> bytearray:
        content = bytearray(count)
        self._fill(memoryview(content))
        return content

    def _fill(self, view: memoryview) -> None:
        while view:
            count = self.connection.recv_into(view)
            if not count:
                raise ClosedError
            view = view[count:]


def _parsed(header: bytearray) -> tuple[dict[str, Any], list[tuple[str, str, tuple[int, ...]]]]:
    """The message and the names, types and shapes of its arrays, once they are known to be that."""
    try:
        message = json.loads(header)
        shapes = [(name, dtype, tuple(shape)) for name, dtype, shape in message.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FrameError("a header that is none") from error
    for name, dtype, shape in shapes:
        counts = all(type(size) is int and size >= 0 for size in shape)
        if type(name) is not str or dtype not in DTYPES or len(shape) > 8 or not counts:
            raise FrameError("a header that describes no arrays")
    return message, shapes
