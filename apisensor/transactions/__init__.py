"""Stage 4 of the path: requests paired with their responses."""
