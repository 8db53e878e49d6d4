"""
From a POST of Cloud Tasks to the function, and back to an answer.

What an attempt is, how it is run, what becomes of it, who is told, and what
Cloud Tasks is answered. The kinds of tasks belong elsewhere: a kind registers
itself here, and is asked by its name. So do credentials, which `auth` checks,
and what is kept of tasks, which `stores` is told.
"""
