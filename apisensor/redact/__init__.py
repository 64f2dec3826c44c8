"""The way out of the worker: raw exchanges in, transactions without secrets out. Nothing else makes transactions."""
