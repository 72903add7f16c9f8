"""The optimisers, one file each: the file's name is the registry key, `OPTIMIZER` is the class. Files that begin with `_` are none."""
