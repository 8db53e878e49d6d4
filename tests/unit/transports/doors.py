"""A lock that lets a test arrange who has to wait for whom."""

import threading


class Door:
    """A lock that tells when somebody comes to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.came = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.came.release()
        self.lock.acquire()

    def __exit__(self, *args: object) -> None:
        self.lock.release()

    def wait_for(self, comers: int) -> None:
        """Wait until as many have come, who may have got in or not."""
        for _ in range(comers):
            assert self.came.acquire(timeout=10)
