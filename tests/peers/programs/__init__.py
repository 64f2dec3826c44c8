"""Peers that run as processes of their own: `python -m tests.peers.programs.NAME OPTIONS`, `node NAME.js OPTIONS`.

OPTIONS is one JSON object. A server takes {"address", "protocol", "tls", "certificate", "key", "log"}, prints
`ready PORT` and ends when its standard input does. A client takes {"base", "plan", "log", "certificate", "protocol",
"concurrency", "keep"}, prints `ready` once everything it needs is loaded, waits for a line on standard input, makes the
calls of the plan and exits with 0. Both append one `tests.truth.Call` a line to their log.

What a server answers stands in the query: `status`, `size` (bytes of content), `chunked=1` (no Content-Length),
`gzip=1` (gzip content coding, counted as it was sent).
"""
