"""apisensor: an API traffic sensor for Linux nodes. See README.md for the map of this package."""

__version__ = "0.1.0"
