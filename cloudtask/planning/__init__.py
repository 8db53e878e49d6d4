"""
When tasks are to run again and again: plans, and the schedules of the code.

A plan is a value: slots in a time zone, and what becomes of late ones. What
`@task(cron=)` and `@schedule` declare is kept here until an app asks for it.
What is known of slots, and who brings their ticks, belongs to the optional app
`cloudtask.schedules`.
"""
