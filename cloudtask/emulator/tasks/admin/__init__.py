"""
Queues, tasks and attempts for the page and for tests, as JSON over HTTP.

Routes, the shape of their answers, and bodies made readable. What can be done
to an emulator belongs to the instrument, and the frame of the HTTP port to
the emulator's room `web`.
"""
