"""
From a decorated function to a task that was sent.

Here is what `@task` takes and makes, what binding checks, and how a task is
handed over: now or at the commit, kept by a store or not. How a transport
sends it is in `transports`; what runs it when it comes back is in `dispatch`;
tasks of Django's framework are in `backends`, and hand over by this package.
"""
