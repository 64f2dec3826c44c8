"""Who spoke: the process, container, pod, user and service behind a transaction. Part of core."""
