"""A file system in user space that shows a directory, and hangs while a file of a name exists.

Run as a program: `python -I -S fuse_server.py BACKING MOUNT_POINT HANG FLUSH`. It mounts, then
serves until it is killed; its end ends the connection, so that whoever waits gets ENOTCONN. The
raw protocol of /dev/fuse (linux/fuse.h), as much as reading takes; read-only, nothing is cached
by the kernel, so that every look at a file comes here.

It hangs as a network mount does whose server is away: requests are not even taken. Who waits for
one can be killed, and goes on when the file HANG is gone. A test that blocked itself is let go
after a while. With FLUSH 1 it wants to hear of every close as well, which is an uninterruptible
wait: a process with an open file cannot even end then.
"""

import ctypes
import errno
import os
import select
import stat
import struct
import sys
import time

#: A test that hangs for so long has blocked itself.
LONGEST_HANG_SECONDS = 60.0
_HANG_POLL_SECONDS = 0.002

_IN = struct.Struct("<IIQQIIIHH")  # len, opcode, unique, nodeid, uid, gid, pid, extensions, -
_OUT = struct.Struct("<IiQ")  # len, error, unique
_LARGEST_REQUEST_BYTES = (1 << 20) + 4096
_MAX_WRITE_BYTES = 128 << 10
_ROOT = 1

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 14, 15, 17, 18
_FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _ACCESS = 25, 26, 27, 28, 29, 34
_INTERRUPT, _DESTROY, _BATCH_FORGET = 36, 38, 42
_UNANSWERED = (_FORGET, _BATCH_FORGET, _INTERRUPT)
_DIRECT_IO = 1  # FOPEN_DIRECT_IO: no page cache
_NO_FLUSH = 32  # FOPEN_NOFLUSH: close asks nobody

_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4


class Server:
    def __init__(self, backing: str, *, flush: bool) -> None:
        self.open_flags = _DIRECT_IO if flush else _DIRECT_IO | _NO_FLUSH
        # A node is an inode held by O_PATH: it survives renames, and its number is not reused.
        self.nodes = {_ROOT: os.open(backing, os.O_PATH | os.O_DIRECTORY)}
        self.calls = {
            _INIT: self.init,
            _LOOKUP: self.lookup,
            _GETATTR: self.getattr,
            _OPEN: self.open,
            _READ: self.read,
            _RELEASE: self.release,
            _OPENDIR: self.open,
            _READDIR: self.readdir,
            _RELEASEDIR: self.release,
            _STATFS: self.statfs,
            _ACCESS: lambda node, body: b"",
            _FLUSH: lambda node, body: b"",
            _DESTROY: lambda node, body: b"",
        }

    def answer(self, request: bytes) -> bytes | None:
        _, opcode, unique, node, *_ = _IN.unpack_from(request)
        if opcode in _UNANSWERED:
            return None
        code, reply = 0, b""
        try:
            reply = self.calls.get(opcode, _refuse)(node, request[_IN.size :])
        except OSError as error:
            code = -(error.errno or errno.EIO)
        return _OUT.pack(_OUT.size + len(reply), code, unique) + reply

    def init(self, node: int, body: bytes) -> bytes:
        (major, _, readahead) = struct.unpack_from("<III", body)
        # ..., flags, max_background, congestion_threshold, max_write, time_gran, ...
        return struct.pack(
            "<IIIIHHII", major, 31, readahead, 0, 12, 9, _MAX_WRITE_BYTES, 1
        ) + bytes(36)

    def lookup(self, node: int, body: bytes) -> bytes:
        name = body.rstrip(b"\0")
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.nodes[node])
        number = os.fstat(fd).st_ino
        if number in self.nodes:
            os.close(fd)
        else:
            self.nodes[number] = fd
        return struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + self.attributes(number)

    def getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self.attributes(node)

    def attributes(self, node: int) -> bytes:
        s = os.fstat(self.nodes[node])
        seconds = [t // 10**9 for t in (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)]
        rests = [t % 10**9 for t in (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)]
        return struct.pack(
            "<6Q10I",
            *(s.st_ino, s.st_size, s.st_blocks, *seconds, *rests),
            *(s.st_mode, s.st_nlink, s.st_uid, s.st_gid, 0, s.st_blksize, 0),
        )

    def open(self, node: int, body: bytes) -> bytes:
        fd = os.open(f"/proc/self/fd/{self.nodes[node]}", os.O_RDONLY)
        return struct.pack("<QII", fd, self.open_flags, 0)

    def read(self, node: int, body: bytes) -> bytes:
        fd, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(fd, size, offset)

    def readdir(self, node: int, body: bytes) -> bytes:
        fd, offset, size = struct.unpack_from("<QQI", body)
        reply = b""
        for number, name in enumerate(sorted(os.listdir(fd)), 1):
            if number <= offset:
                continue
            try:
                s = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            raw = os.fsencode(name)
            kind = stat.S_IFMT(s.st_mode) >> 12
            entry = struct.pack("<QQII", s.st_ino, number, len(raw), kind) + raw
            entry += bytes(-len(entry) % 8)
            if len(reply) + len(entry) > size:
                break
            reply += entry
        return reply

    def release(self, node: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def statfs(self, node: int, body: bytes) -> bytes:
        s = os.statvfs(f"/proc/self/fd/{self.nodes[_ROOT]}")
        counts = (s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree)
        return struct.pack("<5Q4I", *counts, s.f_bsize, s.f_namemax, s.f_frsize, 0) + bytes(24)


def _refuse(node: int, body: bytes) -> bytes:
    raise OSError(errno.ENOSYS, "not here")


def mount(fuse: int, path: str) -> None:
    options = f"fd={fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    arguments = (b"singer-test", os.fsencode(path), b"fuse", flags, options.encode())
    if libc.mount(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {path}: {os.strerror(code)}")


def wait_while_hung(hang: str) -> None:
    until = time.monotonic() + LONGEST_HANG_SECONDS
    while os.path.exists(hang):
        time.sleep(_HANG_POLL_SECONDS)
        if time.monotonic() > until:
            os.unlink(hang)


def main() -> None:
    backing, mount_point, hang, flush = sys.argv[1:]
    fuse = os.open("/dev/fuse", os.O_RDWR)
    mount(fuse, mount_point)
    server, readable = Server(backing, flush=flush == "1"), select.poll()
    readable.register(fuse, select.POLLIN)
    while True:
        # Look first, take then: what comes after the hang began must not be taken.
        readable.poll()
        wait_while_hung(hang)
        try:
            request = os.read(fuse, _LARGEST_REQUEST_BYTES)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return  # unmounted
            if error.errno in (errno.ENOENT, errno.EAGAIN, errno.EINTR):
                continue  # it was interrupted
            raise
        answer = server.answer(request)
        if answer is not None:
            try:
                os.write(fuse, answer)
            except OSError as error:
                if error.errno != errno.ENOENT:  # it was interrupted
                    raise


if __name__ == "__main__":
    main()
