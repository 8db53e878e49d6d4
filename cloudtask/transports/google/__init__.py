"""
Google Cloud Tasks, or an emulator of it, over gRPC.

Here is all that knows Google's packages: the channel and its credentials, the
messages, single calls and batch calls, and Google's errors. Nothing outside
imports more than the transport, and that only when a task is to be sent. The
engine of schedules that asks Cloud Scheduler does so over the same kind of
link, by the same calls.
"""

from cloudtask.transports.google.transport import GoogleTransport

__all__ = ["GoogleTransport"]
