"""Where trials run: resources, and the processes that stay alive between trials."""
