"""The API of locations, which every service has and all share over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud.location import locations_pb2

from cloudtask.emulator.values import locations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

#: The service, and the request of each method.
SERVICE = "google.cloud.location.Locations"
METHODS: dict[str, Any] = {
    "GetLocation": locations_pb2.GetLocationRequest,
    "ListLocations": locations_pb2.ListLocationsRequest,
}


def get_location(request: Any) -> Any:
    """Return the Location of a GetLocation: any name will do."""
    locations.check_parent(request.name)
    return _location(request.name)


def list_locations(request: Any, names: Iterable[str]) -> Any:
    """
    Return the locations of a project that something is in.

    Args:
        request: A ListLocationsRequest.
        names: Of all resources, in any project.
    """
    locations.check_project_path(request.name)
    prefix = f"{request.name}/locations/"
    found = {
        f"{prefix}{name.removeprefix(prefix).partition('/')[0]}"
        for name in names
        if name.startswith(prefix)
    }
    return _response(found)


class SharedLocations:
    """
    One face of locations for several services.

    Args:
        calls: Carry out METHODS, each for its service.
    """

    def __init__(self, calls: Sequence[Callable[[str, Any], Awaitable[Any]]]) -> None:
        self._calls = calls

    async def call(self, method: str, request: Any) -> Any:
        """Carry out a method: what any service has is listed."""
        answers = [await call(method, request) for call in self._calls]
        if method == "GetLocation":
            return answers[0]
        return _response({each.name for answer in answers for each in answer.locations})


def _response(names: set[str]) -> Any:
    return locations_pb2.ListLocationsResponse(
        locations=[_location(name) for name in sorted(names)]
    )


def _location(name: str) -> Any:
    location_id = locations.last_part(name)
    return locations_pb2.Location(
        name=name,
        location_id=location_id,
        labels={"cloud.googleapis.com/region": location_id},
    )
