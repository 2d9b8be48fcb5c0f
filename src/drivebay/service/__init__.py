"""The rules: what may be done to which drive by whom, and what follows.

Plain blocking functions that take a `Context`; no module here knows HTTP.
"""
