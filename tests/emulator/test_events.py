import asyncio
import http.client
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientResponse, ClientSession, web

from cloudtask.emulator import Emulator
from cloudtask.emulator.web.events import EventStreams

from .calls import get

CHANGED = b"event: changed\ndata: {}\n\n"
PATIENCE = 10


class Changes:
    """Something that changes, and how many are told."""

    def __init__(self) -> None:
        self.watchers: list[asyncio.Event] = []
        self.left = asyncio.Event()

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self.watchers.append(event)
        try:
            yield event
        finally:
            self.watchers.remove(event)
            self.left.set()

    def happen(self) -> None:
        for watcher in self.watchers:
            watcher.set()


@asynccontextmanager
async def streaming(
    streams: EventStreams,
) -> AsyncIterator[tuple[web.AppRunner, ClientResponse]]:
    """Serve a stream; give the server and the response, after its greeting."""
    app = web.Application()
    app.router.add_get("/", streams.answer)
    app.on_shutdown.append(streams.close)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with ClientSession() as session, session.get(url) as response:
            assert response.content_type == "text/event-stream"
            assert response.headers["Cache-Control"] == "no-store"
            greeting = await response.content.readuntil(b"\n\n")
            assert greeting == b"retry: 1000\n\n"
            yield runner, response
    finally:
        await runner.cleanup()


def test_a_change_is_told() -> None:
    async def scenario() -> None:
        changes = Changes()
        async with streaming(EventStreams(changes.watched)) as (_, response):
            changes.happen()
            first = await response.content.readexactly(len(CHANGED))
            changes.happen()
            second = await response.content.readexactly(len(CHANGED))
        assert first == second == CHANGED

    asyncio.run(scenario())


def test_many_changes_are_told_as_few() -> None:
    interval = 0.02

    async def scenario() -> None:
        changes = Changes()
        streams = EventStreams(changes.watched, interval=interval)
        async with streaming(streams) as (_, response):
            loop = asyncio.get_running_loop()
            begin = loop.time()
            told = asyncio.create_task(response.content.readexactly(5 * len(CHANGED)))
            while not told.done():
                changes.happen()
                await asyncio.sleep(0)
            # After each of five but the last there was a pause.
            assert loop.time() - begin >= 4 * interval * 0.9

    asyncio.run(scenario())


def test_five_changes_a_second_are_told() -> None:
    defaults = EventStreams.__init__.__kwdefaults__

    assert defaults == {"interval": 0.2, "heartbeat": 15}


def test_a_quiet_stream_shows_that_it_lives() -> None:
    async def scenario() -> None:
        changes = Changes()
        streams = EventStreams(changes.watched, heartbeat=0.01)
        async with streaming(streams) as (_, response):
            for _ in range(2):
                line = await response.content.readuntil(b"\n\n")
                assert line == b": still here\n\n"

    asyncio.run(scenario())


def test_a_stream_ends_when_the_client_goes() -> None:
    async def scenario() -> None:
        changes = Changes()
        streams = EventStreams(changes.watched, interval=0, heartbeat=0.01)
        async with streaming(streams) as (_, response):
            assert len(changes.watchers) == 1
            response.close()
            await asyncio.wait_for(changes.left.wait(), PATIENCE)
            assert changes.watchers == []

    asyncio.run(scenario())


def test_streams_end_with_the_server() -> None:
    async def scenario() -> None:
        changes = Changes()
        streams = EventStreams(changes.watched)
        async with streaming(streams) as (runner, response):
            await runner.cleanup()
            assert await response.content.read() == b""
            assert changes.watchers == []

    asyncio.run(scenario())


@contextmanager
def followed(emulator: Emulator) -> Iterator[http.client.HTTPResponse]:
    port = http.client.HTTPConnection(urlsplit(emulator.http_url).netloc, timeout=20)
    with closing(port):
        port.request("GET", "/emulator/events")
        response = port.getresponse()
        with closing(response):
            assert response.read(len(b"retry: 1000\n\n"))
            yield response


def test_an_emulator_tells_its_changes() -> None:
    with Emulator() as emulator, followed(emulator) as response:
        emulator.create_queue("another")

        assert response.read(len(CHANGED)) == CHANGED


@pytest.mark.parametrize("path", ["queues", "attempts", "clock", "faults"])
def test_looking_is_no_change(emulator: Emulator, path: str) -> None:
    with followed(emulator) as response:
        get(emulator, f"/emulator/{path}")
        emulator.stop()

        assert response.read() == b""


def test_an_emulator_stops_at_once_though_it_is_followed() -> None:
    patient = timedelta(minutes=1)
    with Emulator(stop_grace=patient) as emulator, followed(emulator) as response:
        emulator.stop()

        assert response.read() == b""
