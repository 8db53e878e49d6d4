"""Django's tasks: its own from Django 6.0 on, the backport before."""

try:
    from django.tasks import TaskContext, TaskResultStatus, default_task_backend, task
    from django.tasks.exceptions import InvalidTask
    from django.tasks.signals import task_enqueued, task_finished
except ImportError:
    from django_tasks import TaskContext, TaskResultStatus, default_task_backend, task
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.signals import task_enqueued, task_finished

__all__ = [
    "InvalidTask",
    "TaskContext",
    "TaskResultStatus",
    "default_task_backend",
    "task",
    "task_enqueued",
    "task_finished",
]
