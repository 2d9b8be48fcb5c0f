"""The neighbours, each started by the run as its own users start it."""
