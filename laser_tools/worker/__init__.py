"""The HTTP service: `create_app` (app.py) over a `Backend` (backend.py), run by `serve.py`.

The way of a request: journal -> auth -> admission -> body -> route -> backend. Importing it costs
no torch; a model is imported where it is loaded.
"""
