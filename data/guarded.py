"""f(x) in another process: what kills the reader of a damaged file does not kill the job.

A damaged HDF5 structure can end in a segmentation fault, an endless loop or all memory inside the library, which no
exception handler sees. One child process serves all calls; it is started at the first, replaced when it dies or takes
too long, and ends with its parent. It guards against faults and is no sandbox: code that a hostile file brings to run
there would run with the rights of the user.
"""

import atexit
import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from invdiff.data.errors import DataError

TIMEOUT = 600.0  # seconds that one call may take; a network disk can be slow
_T = TypeVar("_T")

# The child needs NumPy and h5py alone, so `invdiff` is entered as a bare package: its __init__ would load torch.
_CHILD = """
import sys, types
sys.path[:] = {path!r}
sys.modules["invdiff"] = types.ModuleType("invdiff")
sys.modules["invdiff"].__path__ = {folders!r}
from invdiff.data.guarded import serve
serve()
"""


class Guard:
    """A child process that runs functions; not shared with processes forked from this one.

    Args:
        timeout: seconds that one call may take.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._words: IO[bytes] | None = None
        self._lock = threading.Lock()

    def __call__(self, path: Path, function: Callable[..., _T], *args: Any) -> _T:
        """function(*args), found by its module and name, with its result or exception; both must be picklable.

        Raises:
            DataError: the child died or took too long over `path`.
        """
        with self._lock:
            child, late = self._started(), threading.Event()
            timer = threading.Timer(self.timeout, _give_up, (child, late))
            timer.start()
            try:
                good, answer = _ask(child, function, args)
            except (EOFError, BrokenPipeError):
                raise self._explained(path, late.is_set()) from None
            except BaseException:  # interrupted between question and answer
                self.stop()
                raise
            finally:
                timer.cancel()
        if good:
            result: _T = answer
            return result
        raise answer

    def stop(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        if self._owner == os.getpid():
            child.kill()
            child.wait()
        else:
            child.returncode = 0  # forked along with this process: not ours to wait for
        for stream in (child.stdin, child.stdout, self._words):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            self.stop()
            code = _CHILD.format(path=sys.path, folders=list(sys.modules["invdiff"].__path__))
            self._words = tempfile.TemporaryFile()
            self._child = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                pipesize=2**20,
            )
            self._owner = os.getpid()
        return self._child

    def _explained(self, path: Path, late: bool) -> DataError:
        """Why there is no answer; the next call starts another child."""
        assert self._child is not None
        assert self._words is not None
        status = self._child.wait()
        self._words.seek(0)
        last = self._words.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        self.stop()
        if late:
            return DataError(f"was still being read after {self.timeout:g} s and was given up; the file is damaged, or "
                             "the disk too slow.", path=path)  # fmt: skip
        reason = signal.Signals(-status).name if status < 0 else f"status {status} {last}".strip()
        return DataError(f"killed the process that read it ({reason}): its structure is damaged, or memory ran out; "
                         "download it again.", path=path)  # fmt: skip


def _give_up(child: "subprocess.Popen[bytes]", late: threading.Event) -> None:
    late.set()
    child.kill()


def _ask(child: "subprocess.Popen[bytes]", function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any]:
    assert child.stdin is not None
    assert child.stdout is not None
    _send(child.stdin, (function, args))
    good, answer = _receive(child.stdout)
    return good, answer


def serve() -> None:
    """Answer the calls that come on standard input until it closes; what libraries print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt of the terminal reaches the parent, which decides
    _limit_memory()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            function, args = _receive(sys.stdin.buffer)
        except EOFError:
            return
        _send(answers, _answer(function, args))


def _limit_memory() -> None:
    """At most half of the machine's memory, where the system can be asked and told so."""
    if sys.platform != "win32":
        import resource

        half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (half if hard < 0 else min(half, hard), hard))


def _answer(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, function(*args)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # some exceptions hold what cannot be sent
            return False, RuntimeError(f"{type(error).__name__}: {error}")
        return False, error


def _send(stream: IO[bytes], message: Any) -> None:
    """Lengths, the pickle, and the bytes of its arrays as they lie in memory."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    stream.write(struct.pack(f"<q{len(parts)}q", len(parts), *(part.nbytes for part in parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    """What `_send` sent; EOFError where the other end has closed."""
    (count,) = struct.unpack("<q", _exactly(stream, 8))
    lengths = struct.unpack(f"<{count}q", _exactly(stream, 8 * count))
    head, *buffers = (_exactly(stream, n) for n in lengths)
    return pickle.loads(head, buffers=buffers)


def _exactly(stream: IO[bytes], length: int) -> bytearray:
    content = bytearray(length)
    view, filled = memoryview(content), 0
    while filled < length:
        got: int = stream.readinto(view[filled:])  # type: ignore[attr-defined]  # every binary stream has it
        if not got:
            raise EOFError
        filled += got
    return content


guarded = Guard()
atexit.register(guarded.stop)
