"""The process between `launch` and the MPI launcher: nothing that they start outlives it.

    python guard.py COMMAND...

It runs COMMAND and ends with the status of COMMAND (128 + n after signal n). It ends COMMAND when its own standard
input ends. That happens however the parent dies, because only the parent holds the other end. It also ends COMMAND when
its standard output takes no more: then its status is 1, with a line that says why, or 141 if a reader like `head` has
closed the output. It imports few modules, because each launch waits for it: pathlib, typing and contextlib would take
as long as all the rest.

COMMAND writes to the standard output through a pipe. What it writes after it was asked to end does not arrive: this is
MPICH's banner, which says that its processes were ended. COMMAND has this pipe and our standard error twice: as file
descriptors 1 and 2, and as OUTPUT and ERRORS, which the ranks that it starts have too.

Linux:     Orphans below it become its children, so it finds all of them. If it is killed itself, the launcher is
           killed too, and MPICH's proxy then kills the ranks. Memory that the ranks shared and left is removed, at the
           end of this guard or else at the start of the next one.
Elsewhere: Only the launcher is sure to end; the launcher ends its ranks if it can.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import sys
import time

# A launcher ends its processes within 0.6 s of a SIGTERM if they do not ignore theirs; after this time, kill them.
GRACE_S = 1.0

OUTPUT, ERRORS = 8, 9
SHARED = "/dev/shm"

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    """Run `command`, end all that it started, return its status."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    remove_left_segments()
    while (null := os.open(os.devnull, os.O_RDWR)) < 3:  # where a stream is closed, a pipe would take its number
        pass
    os.close(null)
    awake, wake = os.pipe()
    output = Output()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)  # that it came is read from `awake`
    # A process that the parent forked may hold the other end of our standard input for longer than the parent lives.
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    guard = os.getpid()
    launcher = os.fork()
    if launcher == 0:
        become(command, guard, output.sink)
    os.close(output.sink)
    ended: dict[int, int] = {}
    asked = False
    while not asked and (launcher not in ended or output.has_more()):
        ready = output.carry([0, awake])
        asked = output.problem != 0 or 0 in ready or (awake in ready and signal.SIGTERM in os.read(awake, 4096))
        reap(ended, os.WNOHANG)
    output.carry_at_once()
    if launcher not in ended:
        os.kill(launcher, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while reap(ended, os.WNOHANG) and (left := deadline - time.monotonic()) > 0:
        for source in select.select([awake, *output.sources()], [], [], left)[0]:
            output.drop() if source == output.source else os.read(awake, 4096)
    while reap(ended, os.WNOHANG):
        # The children of killed processes become ours, even those that were started since we looked.
        for pid in descendants(guard) or [launcher]:
            kill(pid)
        reap(ended, 0)
    remove_left_segments()
    if output.problem == errno.EPIPE:
        return 128 + signal.SIGPIPE
    if output.problem:
        complain(f"cannot write the output: {os.strerror(output.problem)}")
        return 1
    code = os.waitstatus_to_exitcode(ended[launcher])
    return code if code >= 0 else 128 - code


class Output:
    """What the launcher writes into a pipe, on its way to our standard output.

    problem: The number of the error with which writing failed, 0 if it did not.
    """

    def __init__(self) -> None:
        self.source, self.sink = os.pipe()
        self.problem = 0
        self._held = b""
        self._is_open = True

    def carry(self, awaited: list[int], timeout: float | None = None) -> list[int]:
        """Wait until one of `awaited` can be read, which is returned, or something of the output moves on."""
        sources = [] if self._held else self.sources()
        ready, writable, _ = select.select([*awaited, *sources], [1] if self._held else [], [], timeout)
        if self.source in ready:
            self._held = self.drop()
        if writable:
            try:
                self._held = self._held[os.write(1, self._held) :]
            except OSError as error:
                self._held, self.problem = b"", error.errno or errno.EIO
        return [each for each in ready if each != self.source]

    def carry_at_once(self) -> None:
        """Write what the launcher has written so far, as far as that can be done without waiting."""
        before: object = None
        while not self.problem and before != (before := (self._is_open, self._held)):
            self.carry([], 0)

    def sources(self) -> list[int]:
        """Return what is to be waited for when more is to come: the pipe, unless it has ended."""
        return [self.source] if self._is_open else []

    def has_more(self) -> bool:
        """Return whether there is something to be written now."""
        return bool(self._held) or bool(select.select(self.sources(), [], [], 0)[0])

    def drop(self) -> bytes:
        """Take what the launcher has written, as much as a pipe that is ready takes without waiting."""
        came = os.read(self.source, select.PIPE_BUF)
        self._is_open = bool(came)
        return came


def become(command: list[str], guard: int, output: int) -> None:
    """Turn this process, a fork of the guard, into `command`."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and exec keeps that
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, OUTPUT)
    os.dup2(2, ERRORS)
    os.environ["RANKS_GUARD"] = str(guard)
    try:
        if os.getppid() == guard:  # it may have died before we asked to die with it
            os.execv(command[0], command)
    except OSError as error:
        complain(f"{command[0]}: {error.strerror}")
    os._exit(127)


def reap(ended: dict[int, int], flags: int) -> bool:
    """Note the status of each child that has ended, the first awaited unless WNOHANG; return whether any is left."""
    while True:
        try:
            pid, status = os.waitpid(-1, flags)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        ended[pid] = status
        flags = os.WNOHANG


def descendants(ancestor: int) -> list[int]:
    """Return the processes below `ancestor`; none where /proc does not tell."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdecimal, os.listdir("/proc") if os.path.isdir("/proc") else []):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:  # it has ended since
            continue
        parent = int(stat.rpartition(b")")[2].split()[1])  # after the name, which may hold anything: state, parent
        children.setdefault(parent, []).append(int(name))
    found = [ancestor]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def kill(pid: int) -> None:
    """Kill a process, which may have ended, or be another user's by now."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def remove_left_segments() -> None:
    """Remove the memory that ranks of MPICH shared and left: those that finalize remove it, other ranks do not.

    It would take up memory, and ranks whose segment gets the same name hang in Init, or say that memory is out.
    """
    for name in os.listdir(SHARED) if sys.platform == "linux" and os.path.isdir(SHARED) else []:
        if name.startswith("mpich_"):
            try:
                remove_unless_held(f"{SHARED}/{name}")
            except OSError:  # it is held, or another user's, or another guard was faster
                continue


def remove_unless_held(path: str) -> None:
    """Remove a file, or raise OSError if a process has it open or mapped for writing, also one of another container.

    /proc does not show processes of other containers. The kernel knows of them, and refuses a lease of the file.
    """
    import fcntl  # Windows has none

    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # if somebody opens it meanwhile: SIGIO would kill us
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        os.unlink(path)
    finally:
        os.close(file)


def complain(line: str) -> None:
    """Write a line to the standard error, if that takes it."""
    try:
        os.write(2, f"{line}\n".encode())
    except OSError:
        return


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where there is such a thing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
