"""Drives for servers, over NBD: protocol only, no rules.

`protocol` turns bytes into events and answers into bytes, and knows neither sockets nor drives;
`server` has the sockets and the threads.
"""
