"""A PostgreSQL server to stop and start, and a network that swallows."""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Ends a connection with RST in place of FIN.
_AT_ONCE = struct.pack("ii", 1, 0)


def find_binaries() -> Path | None:
    """The folder that has `initdb` and `pg_ctl`; None if there is none."""
    config = shutil.which("pg_config")
    if config:
        told = subprocess.run(
            [config, "--bindir"], check=True, capture_output=True, text=True
        )
        folders = [Path(told.stdout.strip())]
    else:
        folders = []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in folders if (each / "initdb").exists()), None)


def free_port() -> int:
    """A port that no connection takes while the server is away."""
    for port in random.SystemRandom().sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port from 20000 to 30000 is free")


class Cluster:
    """A PostgreSQL server of its own; root has the user `postgres` run it."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.port = str(free_port())
        self._binaries = binaries
        self._data = folder / "data"
        # By a program: with `user=`, Python forks in a way that gRPC, which
        # is in this process, does not always survive.
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            self._as_user = ["runuser", "-u", "postgres", "--"]
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k '' -c max_connections=60"
        log = str(self._data.parent / "log")
        self._run("pg_ctl", "start", "-w", "-o", options, "-l", log)

    def stop(self) -> None:
        """Stop it as a crash does: no connection is waited for or told."""
        self._run("pg_ctl", "stop", "-m", "immediate")

    @contextmanager
    def away(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_user, self._binaries / program, "-D", self._data, *arguments],
            cwd=self._data.parent,
            # The server keeps them open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.returncode}"


class Proxy:
    """What is between two that talk over TCP, and how it fails them."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = str(self._server.getsockname()[1])
        self._target: tuple[str, int] | None = None
        self._links: list[_Link] = []
        self._is_black = False
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, port: str | None) -> None:
        """
        Forward to a port of this machine from now on.

        Args:
            port: None has new connections reset, and old ones go on.
        """
        self._target = None if port is None else ("127.0.0.1", int(port))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Reset what is open and what is to come, as a server that is gone."""
        target, self._target = self._target, None
        self.cut()
        try:
            yield
        finally:
            self._target = target
            # One may have come between.
            self.cut()

    def cut(self) -> int:
        """Reset what is open. Returns how many there were."""
        links = [link for link in self._links if link.is_open]
        for link in links:
            link.close()
        return len(links)

    def blacken(self, *, new_ones: bool) -> int:
        """
        Forward nothing more, on connections that stay open and seem fine.

        Args:
            new_ones: On those to come as well.

        Returns:
            How many there are.
        """
        self._is_black = new_ones
        links = [link for link in self._links if link.is_open]
        for link in links:
            link.is_black = True
        return len(links)

    def recover(self) -> None:
        """Forward again. Connections that were black are reset."""
        self._is_black = False
        for link in self._links:
            if link.is_black:
                link.close()

    def close(self) -> None:
        # Closing alone does not wake the thread that accepts.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    server = self._connect()
                except OSError:
                    _reset(client)
                else:
                    self._links = [link for link in self._links if link.is_open]
                    self._links.append(_Link(client, server, self._is_black))

    def _connect(self) -> socket.socket:
        if self._target is None:
            raise ConnectionRefusedError
        server = socket.create_connection(self._target)
        # As the ends have it: what one of them writes is not waited for.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server


class _Link:
    def __init__(
        self, client: socket.socket, server: socket.socket, is_black: bool
    ) -> None:
        self.is_black = is_black
        self._ends = client, server
        self._ended: set[socket.socket] = set()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for ends in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=ends, daemon=True).start()

    @property
    def is_open(self) -> bool:
        return len(self._ended) < len(self._ends)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(2**16):
                if not self.is_black:
                    sink.sendall(data)
            if not self.is_black:
                sink.shutdown(socket.SHUT_WR)
                self._ended.add(source)
        except OSError:
            if not self.is_black:
                self.close()
        if not self.is_open:
            self.close()

    def close(self) -> None:
        """Reset both ends; nothing happens to those that have ended."""
        self._ended.update(self._ends)
        for each in self._ends:
            _reset(each)


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        # Wakes the thread that reads from it.
        end.shutdown(socket.SHUT_RDWR)
    end.close()
