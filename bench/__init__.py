"""Measure drivebay against its neighbours, in one run on one machine: `python -m bench`."""
