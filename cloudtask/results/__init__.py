"""
What became of each task, kept in the database. An optional Django app.

    INSTALLED_APPS += ["cloudtask.results"]
"""
