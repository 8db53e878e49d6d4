"""
Jobs, their attempts and their logs for the page and for tests, as JSON.

Routes and the shape of their answers. What can be done to jobs is in the API
of REST, and the frame of the HTTP port in the emulator's room `web`.
"""
