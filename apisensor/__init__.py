"""apisensor: an API traffic sensor for Linux nodes. See README.md for the map of this package."""

from apisensor import compiled

__version__ = "0.1.0"

compiled.use()
