"""A hand inside a running process: makes it call the kernel, or spin, without a debugger.

Linux on x86-64 only (`usable()` says so), and only as root or for processes that allow it.
"""

import ctypes
import os
import platform
import signal
import time

ATTACH, DETACH, GETREGS, SETREGS, PEEKTEXT, POKETEXT, SINGLESTEP = 16, 17, 12, 13, 1, 4, 9
SYSCALL = b'\x0f\x05'
SPIN = b'\xeb\xfe'            # a jump to itself

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulong) for name in (
        'r15', 'r14', 'r13', 'r12', 'rbp', 'rbx', 'r11', 'r10', 'r9', 'r8', 'rax', 'rcx', 'rdx', 'rsi', 'rdi',
        'orig_rax', 'rip', 'cs', 'eflags', 'rsp', 'ss', 'fs_base', 'gs_base', 'ds', 'es', 'fs', 'gs')]

    def copy(self):
        return Registers.from_buffer_copy(self)


def usable():
    return platform.machine() == 'x86_64' and os.getuid() == 0


def _ptrace(what, pid, address=0, data=0):
    ctypes.set_errno(0)
    got = _libc.ptrace(what, pid, address, data)
    if ctypes.get_errno():
        raise OSError(ctypes.get_errno(), 'ptrace(%d): %s' % (what, os.strerror(ctypes.get_errno())))
    return got


class Held:
    """`with Held(pid) as p:` stops the process, in a system call; it goes on where it was when the block ends, unless it
    died."""

    def __init__(self, pid):
        self.pid, self.died = pid, None

    def __enter__(self):
        for _ in range(200):
            _ptrace(ATTACH, self.pid)
            os.waitpid(self.pid, 0x40000000)             # __WALL
            self.saved = self.registers()
            if self.peek(self.saved.rip - 2).to_bytes(8, 'little')[:2] == SYSCALL:
                return self
            _ptrace(DETACH, self.pid)                    # it was computing; soon it waits again
            time.sleep(0.01)
        raise OSError('process %d is never found in a system call' % self.pid)

    def __exit__(self, *ignored):
        if self.died is None:
            if self.saved is not None:
                self.set_registers(self.saved)
            _ptrace(DETACH, self.pid)

    def registers(self):
        r = Registers()
        _ptrace(GETREGS, self.pid, 0, ctypes.addressof(r))
        return r

    def set_registers(self, r):
        _ptrace(SETREGS, self.pid, 0, ctypes.addressof(r))

    def peek(self, address):
        return _ptrace(PEEKTEXT, self.pid, address) & 0xffffffffffffffff

    def write_bytes(self, address, data):
        for at in range(0, len(data), 8):
            old = self.peek(address + at).to_bytes(8, 'little')
            piece = data[at:at + 8]
            word = int.from_bytes(piece + old[len(piece):], 'little')
            _ptrace(POKETEXT, self.pid, address + at, word)

    def scratch(self):
        """Stack memory that the process will not miss."""
        return (self.saved.rsp - 4096) & ~15

    def put(self, data):
        """The address of these bytes, in memory of the process."""
        self.write_bytes(self.scratch(), data + b'\0')
        return self.scratch()

    def syscall(self, number, *words):
        """The kernel's answer (negative: an errno), or None when the call killed the process; .died is the signal then."""
        r = self.saved.copy()
        r.rip, r.rax, r.orig_rax = self.saved.rip - 2, number, ctypes.c_ulong(-1).value
        for name, word in zip(('rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'), list(words) + [0] * 6):
            setattr(r, name, ctypes.c_ulong(word).value)
        self.set_registers(r)
        _ptrace(SINGLESTEP, self.pid)
        _, status = os.waitpid(self.pid, 0x40000000)
        while os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSYS:
            _ptrace(SINGLESTEP, self.pid, 0, signal.SIGSYS)
            _, status = os.waitpid(self.pid, 0x40000000)
        if not os.WIFSTOPPED(status):
            self.died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            return None
        return ctypes.c_long(self.registers().rax).value

    def spin(self):
        """Leaves it turning on the spot for good."""
        self.write_bytes(self.saved.rip, SPIN)
        r = self.saved.copy()
        r.orig_rax = ctypes.c_ulong(-1).value       # do not make the interrupted call again
        self.set_registers(r)
        self.saved = None
