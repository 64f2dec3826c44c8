"""Sans-I/O parsers: the bytes of one direction in, the begin, head and end of its messages out."""
