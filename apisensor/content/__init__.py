"""What an exchange's bytes say: how it authenticated and where sensitive data lies. Part of the worker."""
