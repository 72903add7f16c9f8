"""The tasks, one file each: the file's name is the registry key, `TASK` is the class. Files that begin with `_` are no tasks."""
