"""Stage 1 of the path: what the kernel (or a packet capture, or a recording) saw, as plain records."""
