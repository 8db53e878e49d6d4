from __future__ import annotations

from cloudtask import CloudTaskRequest, task


@task
def bake(request: CloudTaskRequest, loaves: int) -> int:
    return loaves


@task(path="bakery.sell", aliases=("bakery.give_away",))
def sell(request: CloudTaskRequest, loaves: int) -> int:
    return -loaves
