"""The page and the REST API: reads the store, asks core through its socket."""
