"""
The service of v2beta3, in the terms of that of v2.

Both have the same messages, but for the numbers of some fields, and for what a
queue says of App Engine, of itself and of its tasks. Pull queues are not
served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2, tasks_v2beta3

from cloudtask.emulator.tasks import limits
from cloudtask.emulator.tasks.api.services import SERVICES
from cloudtask.emulator.values import errors, instants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloudtask.emulator.tasks.engine.live_queues import QueueFigures

_V2 = "google.cloud.tasks.v2."
SERVICE = "google.cloud.tasks.v2beta3.CloudTasks"

_ROUTING = "app_engine_routing_override"
_APP_ENGINE = "app_engine_http_queue"
# Fields of a queue that v2 does not have.
_OWN_FIELDS = frozenset({"type", "type_", "task_ttl", "tombstone_ttl", "stats"})
_PULL = tasks_v2beta3.Queue.Type.PULL
_PUSH = tasks_v2beta3.Queue.Type.PUSH


def _counterpart(kind: Any) -> Any:
    """The class of v2beta3 for one of v2; others are their own."""
    if not kind.DESCRIPTOR.full_name.startswith(_V2):
        return kind
    return getattr(tasks_v2beta3, kind.DESCRIPTOR.name).pb()


#: The request of each method, as in services.SERVICES.
METHODS: dict[str, Any] = {
    method: _counterpart(request_type)
    for method, request_type in SERVICES[f"{_V2}CloudTasks"].items()
}


def read_request(method: str, request: Any) -> Any:
    """
    Return the request of v2 that stands for one of v2beta3.

    Raises:
        ApiError: It asks for a pull queue.
    """
    translated = SERVICES[f"{_V2}CloudTasks"][method]()
    _carry_over(request, translated)
    for queue, translated_queue in _pairs(request, translated):
        if queue.type_ == _PULL:
            raise errors.invalid_argument("Queue.type: pull queues are not served.")
        if queue.HasField(_APP_ENGINE):
            translated_queue.app_engine_routing_override.SetInParent()
            _carry_over(
                queue.app_engine_http_queue.app_engine_routing_override,
                translated_queue.app_engine_routing_override,
            )
    if method == "UpdateQueue":
        translated.update_mask.paths[:] = _mask(request.update_mask.paths)
    return translated


def write_response(
    request: Any, response: Any, figures: Callable[[str], QueueFigures]
) -> Any:
    """
    Return the response of v2beta3 that stands for one of v2.

    Args:
        request: Of v2beta3.
        response: Of v2.
        figures: Returns the figures of a queue's tasks, by its path.
    """
    translated = _counterpart(type(response))()
    if type(translated) is type(response):
        _translate_packed(response)
        return response
    _carry_over(response, translated)
    for queue, translated_queue in _pairs(response, translated):
        translated_queue.type_ = _PUSH
        instants.write(translated_queue.task_ttl, limits.RETENTION)
        if queue.HasField(_ROUTING):
            _carry_over(
                queue.app_engine_routing_override,
                translated_queue.app_engine_http_queue.app_engine_routing_override,
            )
        if "read_mask" in request.DESCRIPTOR.fields_by_name:
            _restrict(translated_queue, list(request.read_mask.paths), figures)
    return translated


def _carry_over(source: Any, target: Any) -> None:
    """Set the fields that both have, which their names tell."""
    for field, value in source.ListFields():
        if field.name not in target.DESCRIPTOR.fields_by_name:
            continue
        if field.is_repeated:
            _carry_over_items(field, value, getattr(target, field.name))
        elif field.message_type is None:
            setattr(target, field.name, value)
        else:
            place = getattr(target, field.name)
            place.SetInParent()
            _carry_over_message(value, place)


def _carry_over_items(field: Any, items: Any, place: Any) -> None:
    if field.message_type is None:
        place.extend(items)
    elif field.message_type.GetOptions().map_entry:
        # Of texts, or of messages that are the same in both.
        place.MergeFrom(items)
    else:
        for each in items:
            _carry_over_message(each, place.add())


def _carry_over_message(source: Any, target: Any) -> None:
    if type(source) is type(target):
        target.CopyFrom(source)
    else:
        _carry_over(source, target)


def _pairs(source: Any, target: Any) -> Iterator[tuple[Any, Any]]:
    """The queues of two messages that stand for each other."""
    if source.DESCRIPTOR.name == "Queue":
        yield source, target
    names = source.DESCRIPTOR.fields_by_name
    if "queue" in names and names["queue"].message_type is not None:
        yield source.queue, target.queue
    if "queues" in names:
        yield from zip(source.queues, target.queues, strict=True)


def _mask(paths: Any) -> list[str]:
    translated = [
        path.removeprefix(f"{_APP_ENGINE}.").replace(_APP_ENGINE, _ROUTING)
        for path in paths
        if path not in _OWN_FIELDS
    ]
    # An empty mask would mean all. A name is never changed.
    return translated or ["name"] * bool(paths)


def _restrict(
    queue: Any, paths: list[str], figures: Callable[[str], QueueFigures]
) -> None:
    """Leave what a read mask asks for; without one, all but the figures."""
    if not paths:
        return
    if "*" in paths or any(path.partition(".")[0] == "stats" for path in paths):
        _write_stats(queue.stats, figures(queue.name))
    wanted = {path.partition(".")[0] for path in paths}
    for field, _ in queue.ListFields():
        if "*" not in wanted and field.name.removesuffix("_") not in wanted:
            queue.ClearField(field.name)


def _write_stats(stats: Any, figures: QueueFigures) -> None:
    stats.tasks_count = figures.depth
    if figures.oldest is not None:
        instants.write(stats.oldest_estimated_arrival_time, figures.oldest)
    stats.executed_last_minute_count = figures.dispatched_last_minute
    stats.concurrent_dispatches_count = figures.in_flight
    stats.effective_execution_rate = figures.effective_rate


def _translate_packed(response: Any) -> None:
    """Translate what an operation carries, in place."""
    for field in ("metadata", "response"):
        packed = getattr(response, field, None)
        if packed is None or not packed.TypeName().startswith(_V2):
            continue
        name = packed.TypeName().removeprefix(_V2)
        message = getattr(tasks_v2, name).pb()()
        packed.Unpack(message)
        translated = getattr(tasks_v2beta3, name).pb()()
        _carry_over(message, translated)
        packed.Pack(translated)
