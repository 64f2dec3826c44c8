// The log of the Node.js peers: one tests.truth.Call a line.
'use strict';

const fs = require('fs');

class CallLog {
  constructor(file) {
    this.descriptor = fs.openSync(file, 'a');
  }

  write(role, method, path, status, requestSize, responseSize, connection, protocol, tls) {
    fs.writeSync(this.descriptor, `${JSON.stringify({
      role,
      method,
      path,
      status,
      request_size: requestSize,
      response_size: responseSize,
      pid: process.pid,
      ...connection,
      protocol,
      tls,
      time: Date.now() / 1000,
    })}\n`);
  }
}

// Both ends of a connection, to be read while it is open. Of a unix socket Node.js has no names to tell: they are given.
function ends(socket, local, remote) {
  if (socket.remoteAddress === undefined && socket.remotePort === undefined) {
    return { local: { address: local, port: null }, remote: { address: remote, port: null } };
  }
  return {
    local: { address: socket.localAddress, port: socket.localPort },
    remote: { address: socket.remoteAddress, port: socket.remotePort },
  };
}

module.exports = { CallLog, ends };
