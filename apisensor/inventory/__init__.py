"""What APIs there are: endpoints by route template, and what was seen of each. No clock, no database."""
