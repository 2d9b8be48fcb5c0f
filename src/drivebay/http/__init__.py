"""The Drive API over HTTP: protocol only, no rules.

A request's way: `protocol` frames it, `app` names the caller and finds the route, `drives` turns
the path and the body into one call of the service, `replies` writes the answer.  `streams` is the
one bridge between async bodies and the blocking code below.
"""
