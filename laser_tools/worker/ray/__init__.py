"""Replicas of the model that Ray Serve runs, on one machine or many, as a `Backend`.

Images travel once through Ray's object store, and questions about one image go to one replica.
May import `worker.http`, `worker.backends` and what lies below.
"""
