"""drivebay: a self-hosted drive service that speaks the ElasticHosts Drive API."""

__version__ = "0.1.0"
