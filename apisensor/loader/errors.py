"""What stands in the way of the kernel side."""


class LoaderError(Exception):
    """What stands in the way, as one line that says what to do."""


class CacheError(Exception):
    """The programs cannot be kept, or what was kept cannot be used: one line."""
