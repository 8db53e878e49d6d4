"""
`manage.py cloudtask`, where Django looks for it, and the core's own action.

The seam through which other apps bring theirs is `cloudtask.actions`.
"""
