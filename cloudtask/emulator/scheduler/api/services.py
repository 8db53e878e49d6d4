"""The service of the API, with the request of each method."""

from __future__ import annotations

from typing import Any

from google.cloud import scheduler_v1

from cloudtask.emulator.api import places

#: The service's name, with its package.
SERVICE = "google.cloud.scheduler.v1.CloudScheduler"

#: The request of each of its methods, as raw protobuf.
JOB_METHODS: dict[str, Any] = {
    "CreateJob": scheduler_v1.CreateJobRequest.pb(),
    "DeleteJob": scheduler_v1.DeleteJobRequest.pb(),
    "GetJob": scheduler_v1.GetJobRequest.pb(),
    "ListJobs": scheduler_v1.ListJobsRequest.pb(),
    "PauseJob": scheduler_v1.PauseJobRequest.pb(),
    "ResumeJob": scheduler_v1.ResumeJobRequest.pb(),
    "RunJob": scheduler_v1.RunJobRequest.pb(),
    "UpdateJob": scheduler_v1.UpdateJobRequest.pb(),
}

#: The same with what all services have.
METHODS = JOB_METHODS | places.METHODS
