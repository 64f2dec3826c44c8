"""Apache httpd with a configuration of its own, from Debian's apache2-bin; its access log is the truth.

A handler in Lua answers what the query asks for; mod_lua reads contents of POST and PUT only, and none in chunks. The
event MPM hands a connection from thread to thread between calls; HTTP/2 calls are answered by other threads than
the one that speaks TLS.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from string import Template
from typing import Literal

import msgspec

from tests.peers.certificates import Certificate
from tests.peers.process import Peer, free_port, listens, program
from tests.truth import Call, End

MODULES = Path("/usr/lib/apache2/modules")
_NEEDED = ("mpm_event", "authz_core", "ssl", "http2", "lua")
_CONFIGURATION = Template(
    """\
$modules
ServerRoot $prefix
ServerName localhost
User www-data
Group www-data
PidFile $prefix/httpd.pid
DefaultRuntimeDir $prefix
ErrorLog $prefix/error.log
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 120
Listen 127.0.0.1:$plain
Listen 127.0.0.1:$tls
LogFormat '{"time":%{%s}t,"pid":%P,"request":"%r","status":%>s,"request_size":"%{read}n","response_size":%B,\
"remote_addr":"%a","remote_port":%{remote}p,"server_addr":"%A","server_port":%{local}p,"cipher":"%{SSL_CIPHER}x"}' call
CustomLog $prefix/access.log call
LuaMapHandler ^/ $answer/answer.lua
Protocols h2 h2c http/1.1
<VirtualHost 127.0.0.1:$tls>
    SSLEngine on
    SSLCertificateFile $certificate
    SSLCertificateKeyFile $key
</VirtualHost>
"""
)
_ANSWER = """\
function handle(r)
    local query = r:parseargs()
    local status, size = tonumber(query.status), tonumber(query.size)
    local content = r:requestbody(nil, 1048576)
    r.notes["read"] = content and #content or 0
    r.status = status
    r.content_type = "application/octet-stream"
    if status == 301 then r.headers_out["Location"] = "/elsewhere" end
    if r.method ~= "HEAD" and status ~= 204 and status ~= 304 then
        local unit = "<" .. r.uri .. ">"
        r:write(string.sub(string.rep(unit, size // #unit + 1), 1, size))
    end
    return apache2.OK
end
"""
_PROTOCOLS: dict[str, Literal["http/1.0", "http/1.1", "h2"]] = {"HTTP/1.1": "http/1.1", "HTTP/2.0": "h2"}


class _Entry(msgspec.Struct):
    """A line of the access log."""

    time: float
    pid: int
    request: str
    status: int
    request_size: str
    response_size: int
    remote_addr: str
    remote_port: int
    server_addr: str
    server_port: int
    cipher: str


def _call(entry: _Entry) -> Call:
    method, path, version = entry.request.split(" ")
    return Call(
        role="server",
        method=method,
        path=path,
        status=entry.status,
        request_size=int(entry.request_size),
        response_size=entry.response_size,
        pid=entry.pid,
        local=End(entry.server_addr, entry.server_port),
        remote=End(entry.remote_addr, entry.remote_port),
        protocol=_PROTOCOLS[version],
        tls=entry.cipher != "-",
        time=entry.time,
    )


class Httpd:
    """A running httpd: one process that serves, with 64 threads."""

    def __init__(self, directory: Path, certificate: Certificate) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._plain, self._tls = free_port("127.0.0.1"), free_port("127.0.0.1")
        self._log = directory / "access.log"
        # Not in `directory`: only root may enter that, and what answers is not root.
        self._answer = Path(tempfile.mkdtemp(prefix="apisensor-httpd-"))
        self._answer.chmod(0o755)
        (self._answer / "answer.lua").write_text(_ANSWER)
        configuration = _CONFIGURATION.substitute(
            modules="\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in _NEEDED),
            prefix=directory,
            answer=self._answer,
            plain=self._plain,
            tls=self._tls,
            certificate=certificate.certificate,
            key=certificate.key,
        )
        (directory / "httpd.conf").write_text(configuration)
        command = [program("apache2"), "-DFOREGROUND", "-f", str(directory / "httpd.conf")]
        self._peer = Peer(command, directory / "httpd.stderr")
        try:
            self._peer.wait_until(lambda: bool(self.pids) and listens("127.0.0.1", self._tls), "httpd")
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        """The child, which serves and logs."""
        return self._peer.children()

    def base(self, address: str, protocol: str, tls: bool) -> str:  # noqa: ARG002 - both protocols, by ALPN
        return f"https://{address}:{self._tls}" if tls else f"http://{address}:{self._plain}"

    def calls(self) -> list[Call]:
        lines = self._log.read_bytes().split(b"\n")[:-1] if self._log.exists() else []
        entries = [msgspec.json.decode(line, type=_Entry) for line in lines]
        return [_call(entry) for entry in entries if entry.request != "-"]

    def stop(self) -> None:
        self._peer.stop()
        shutil.rmtree(self._answer, ignore_errors=True)
