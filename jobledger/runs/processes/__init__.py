"""The processes and threads that execute jobs, and those that jobs start."""
