"""PEFT methods, one per file; the file's name is the registry key."""
