"""The way to a broker: `python -m bench.proxy PORT TARGET_PORT`, in a process of its own.

Prints the port at which it takes commands, a line each: `delay MS` (each way), `down` (connections
are cut and refused) and `up`. Serves until it is killed.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support import child

_CHUNK_BYTES = 256 << 10
#: What may be under way in one direction.
_CHUNKS = 64


class Way:
    """Somebody's hold on a proxy."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def round_trip(self, milliseconds: float) -> None:
        self._say(f"delay {milliseconds / 2:g}")

    def down(self) -> None:
        self._say("down")

    def up(self) -> None:
        self._say("up")

    def _say(self, command: str) -> None:
        self._control.sendall(command.encode() + b"\n")
        if self._control.recv(16) != b"done\n":
            raise RuntimeError(f"tell the proxy {command}: it did not answer")


@contextmanager
def proxy(port: int, target_port: int) -> Iterator[Way]:
    """A proxy for as long as the context is open; it is up, without delay."""
    command = [sys.executable, "-m", "bench.proxy", str(port), str(target_port)]
    process = child.spawn(command, output=subprocess.PIPE)
    try:
        assert process.stdout is not None
        with process.stdout as output:
            said = output.readline()
            with socket.create_connection(("127.0.0.1", int(said)), timeout=10.0) as control:
                yield Way(control)
    finally:
        child.end(process)


class _Proxy:
    def __init__(self, port: int, target_port: int) -> None:
        self._port = port
        self._target_port = target_port
        self._delay_seconds = 0.0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def run(self) -> None:
        await self._up()
        control = await asyncio.start_server(self._command, "127.0.0.1", 0)
        print(control.sockets[0].getsockname()[1], flush=True)
        await control.serve_forever()

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            match line.decode().split():
                case ["delay", milliseconds]:
                    self._delay_seconds = float(milliseconds) / 1000
                case ["down"]:
                    self._down()
                case ["up"]:
                    await self._up()
            writer.write(b"done\n")

    async def _up(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)

    def _down(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(there, writer))
        except* OSError:
            pass  # it was cut
        finally:
            self._writers -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)

        async def read() -> None:
            with suppress(OSError):
                while data := await reader.read(_CHUNK_BYTES):
                    await queue.put((loop.time() + self._delay_seconds, data))
            await queue.put((0.0, b""))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, data = await queue.get()
                if not data:
                    raise ConnectionResetError
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                writer.write(data)
                await writer.drain()
        finally:
            reading.cancel()


if __name__ == "__main__":
    asyncio.run(_Proxy(int(sys.argv[1]), int(sys.argv[2])).run())
