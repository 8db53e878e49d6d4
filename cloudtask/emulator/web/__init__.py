"""
The HTTP port: who may call it, its answers, the page, events and keys.

It is the frame that services add their routes to. What the routes of a service
show and steer belongs to the service; the files of the page are here, since
there is one page for all of them.
"""
