"""
What is kept, whatever service it belongs to: the file and its commits.

The file knows how it is opened, locked, written and undone; a commit is shared
by the calls that come at the same time. Which tables there are, and what their
rows mean, belongs to the service that has them.
"""
