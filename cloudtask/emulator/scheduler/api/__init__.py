"""
The methods of the API of Cloud Scheduler, whichever way a call came in.

Here a request's message becomes calls of the engine. The rules of jobs belong
to the engine and the model; gRPC and REST to the emulator's room `api`, for
which the methods and their routes are listed here.
"""
