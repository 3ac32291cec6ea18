"""The process that is started does nothing but watch over the one that works.

A run of somebody's model may take for ever within one call of a library, in which Python sees no
signal; and importing the libraries takes half a second, in which a signal ends anyhow.  So the work
is done by a child, which can be ended at any moment; only while it writes it is left alone.  This
file imports nothing that takes time.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from types import FrameType

#: What the worker says on the pipe between the two, one a line.
WRITING, SECONDS, DONE, HEEDS, KEPT = b"writing", b"seconds", b"done", b"heeds", b"kept"
_LIMIT = 7
_REFUSED = 3
#: With this code the C library ends a process that it cannot give memory for a thread.
_NO_MEMORY = 127


def main() -> None:
    """Run the command line, and end with the exit code that belongs to what happened."""
    if not hasattr(os, "fork"):
        _work(None)
    occupy_standard_streams()
    heard, wake = os.pipe()
    for end in (heard, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    numbers = _ending()
    for number in (*numbers, signal.SIGCHLD):
        signal.signal(number, _noted)
    told, tell = os.pipe()
    os.set_blocking(told, False)
    parent = os.getpid()
    worker = os.fork()
    if worker:
        os.close(tell)
        sys.exit(_Watch(worker, heard, told, numbers).until_end())
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in numbers:  # a terminal and `timeout` send to both; the one that watches decides
        signal.signal(number, signal.SIG_IGN)
    for end in (heard, wake, told):
        os.close(end)
    from onnxslim_snacs.cluster.lifetime import die_with

    die_with(parent)
    _work(tell)


def _work(wire: int | None) -> None:
    import gc

    # nothing that is imported is ever garbage, and looking for some takes a tenth of a short run
    gc.set_threshold(100_000, 20, 20)
    from onnxslim_snacs.cli.app import main as work

    work(wire)


def _ending() -> tuple[int, ...]:
    """The signals that end a run; of those, `nohup` has SIGHUP ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return tuple(n for n in numbers if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN)


def _noted(number: int, frame: FrameType | None) -> None:
    """Nothing: the number of the signal arrives through the pipe."""


def occupy_standard_streams() -> None:
    """Let no file that is opened later take the place of a standard stream that is closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


class _Watch:
    """What is known of the worker.

    No dataclass: importing those takes longer than all else here together.

    Attributes:
        worker: its process.
        heard: gives the numbers of signals.
        told: gives what the worker says; None once it has closed its end.
        ending: signals that end the run.
        signal: the first one of those that came, or 0.
        deadline: when the run has to be over, on the monotonic clock.
        late: whether it was not.
        writing: whether outputs are being written, during which nothing ends the run.
        done: whether the worker ends by itself, and not from inside of somebody's code.
        kept: what is left of a run that a signal ends.
        heeds: whether a first SIGINT is passed on to the worker, which then comes to an end.
    """

    def __init__(self, worker: int, heard: int, told: int, ending: tuple[int, ...]) -> None:
        self.worker, self.heard, self.ending = worker, heard, ending
        self.told: int | None = told
        self.signal = 0
        self.deadline: float | None = None
        self.late = self.writing = self.done = self.heeds = False
        self.kept = "nothing was written"
        self._rest = b""

    def until_end(self) -> int:
        """Wait for the worker to end; the exit code."""
        while True:
            self._listen(self._patience())
            status = self._ended(os.WNOHANG)
            if status is None and self.heeds and self.signal == signal.SIGINT:
                self.heeds, self.signal = False, 0  # the next one ends the run
                os.kill(self.worker, signal.SIGUSR1)
            if status is None and (self.signal or self._is_late()) and not self.writing:
                status = self._stop()
            if status is not None:
                return self._code(os.waitstatus_to_exitcode(status))

    def _patience(self) -> float | None:
        if self.deadline is None or self.writing:
            return None
        return max(0.0, self.deadline - time.monotonic())

    def _is_late(self) -> bool:
        self.late |= self.deadline is not None and time.monotonic() >= self.deadline
        return self.late

    def _listen(self, seconds: float | None) -> None:
        ends = [self.heard] if self.told is None else [self.heard, self.told]
        select.select(ends, [], [], seconds)
        numbers = _read(self.heard) or b""
        self.signal = self.signal or next((n for n in numbers if n in self.ending), 0)
        self._hear_worker()

    def _hear_worker(self) -> None:
        if self.told is None:
            return
        said = _read(self.told)
        if said == b"":
            os.close(self.told)
            self.told = None
            return
        *lines, self._rest = (self._rest + (said or b"")).split(b"\n")
        for line in lines:
            word, _, value = line.partition(b" ")
            self.writing |= word == WRITING
            self.done |= word == DONE
            self.heeds |= word == HEEDS
            if word == KEPT:
                self.kept = value.decode(errors="backslashreplace")
            if word == SECONDS:
                self.deadline = time.monotonic() + float(value)

    def _ended(self, how: int) -> int | None:
        process, status = os.waitpid(self.worker, how)
        return status if process else None

    def _stop(self) -> int | None:
        """End the worker; None if it turns out to be writing."""
        # it says that it writes before it does: stopped and silent, it has not begun to
        os.kill(self.worker, signal.SIGSTOP)
        status = self._ended(os.WUNTRACED)
        if status is None or not os.WIFSTOPPED(status):
            return status
        self._hear_worker()
        os.kill(self.worker, signal.SIGCONT if self.writing else signal.SIGKILL)
        return None if self.writing else self._ended(0)

    def _code(self, code: int) -> int:
        if code == -signal.SIGKILL and self.signal:
            name = signal.Signals(self.signal).name
            _tell(f"ended by {'Ctrl-C' if name == 'SIGINT' else name}; {self.kept}")
            return 128 + self.signal
        if code == -signal.SIGKILL and self.late:
            return _complain(_LIMIT, "--max-time is over; nothing was written")
        self._hear_worker()
        if code >= 0 and self.done:
            return code
        if code == _NO_MEMORY:
            return _complain(_LIMIT, "not enough memory (see --max-memory); nothing was written")
        if code >= 0:
            return _complain(_REFUSED, f"the run was ended from inside, with the code {code}")
        return _complain(*_fate(-code))


def _fate(number: int) -> tuple[int, str]:
    """The exit code and the reason of a worker that a signal has ended which nobody sent to us."""
    name = signal.Signals(number).name
    if number == signal.SIGALRM:
        return _LIMIT, "a single run of the model on a few samples takes too long (two minutes)"
    if number == signal.SIGKILL:
        return _LIMIT, "the work was killed, most likely by the system for want of memory"
    if number == signal.SIGABRT:
        return _LIMIT, "a library gave up, most likely for want of memory (see --max-memory)"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
        return _REFUSED, f"a library crashed at work on these files ({name}); nothing was written"
    return 128 + number, f"ended by {name}"


def _complain(code: int, text: str) -> int:
    _tell(f"error: {text}")
    return code


def _tell(line: str) -> None:
    try:
        _show_cursor()
        os.write(2, f"{line}\n".encode())
    except OSError:  # the terminal is gone, and the exit code says it as well
        return


def _show_cursor() -> None:
    """Undo what a progress bar that was cut off has left on the terminal."""
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")


def _read(end: int) -> bytes | None:
    """What there is to read; None for nothing yet, b"" at the end."""
    try:
        return os.read(end, 4096)
    except BlockingIOError:
        return None
