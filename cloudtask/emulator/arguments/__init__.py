"""
The options of the command line, which are environment variables, too.

What is given on the command line goes before the environment, that before what
the caller implies, such as a project's settings, and that before the defaults.
What an option does belongs to the part that it is for.
"""
