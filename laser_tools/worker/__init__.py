"""The HTTP service: `http` is its surface, `backends` run the model, `ray` spreads it.

The way of a request: journal, auth, admission, body, route, backend. `run` serves until it is told
to end. Importing it costs no torch; a model is imported where it is loaded. May import `engine` and
what lies below.
"""
