"""The model in a process of its own, as a `Backend`: it shares no interpreter with the server.

`child` is that process, `process_engine` asks it and starts it again when it ends, `backend` puts
the worker's queue before it. May import `worker.http`, `worker.backends`, `worker.run` and what
lies below; without torch outside of the child.
"""
