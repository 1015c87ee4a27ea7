"""Pictures for people: the evidence of an answer, and the style that all plots share.

Everything is drawn with matplotlib, without touching pyplot's global state. May import the hall
alone.
"""
