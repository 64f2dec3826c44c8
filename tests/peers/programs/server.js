// HTTP/1.1 and HTTP/2 servers on Node.js, with its own OpenSSL (memory buffers) or plain. Options: see __init__.py.
'use strict';

const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const https = require('https');
const zlib = require('zlib');
const { CallLog, ends } = require('./call_log.js');

const options = JSON.parse(process.argv[2]);
const log = new CallLog(options.log);
const DECOY = '\r\nHTTP/1.1 500 Decoy\r\nContent-Length: 0\r\n\r\n';
const PIECE = 10000;

// The response the query asks for; content is empty where method or status allow none.
function answer(method, path) {
  const query = new URLSearchParams(path.slice(path.indexOf('?')));
  const status = Number(query.get('status'));
  const size = Number(query.get('size'));
  const unit = path + DECOY;
  let content = Buffer.from(unit.repeat(Math.ceil(size / unit.length)).slice(0, size));
  const headers = { 'content-type': 'application/octet-stream' };
  if (status === 301) headers.location = '/elsewhere';
  if (query.has('gzip')) {
    content = zlib.gzipSync(content);
    headers['content-encoding'] = 'gzip';
  }
  const allowed = method !== 'HEAD' && status !== 204 && status !== 304;
  if (!allowed) content = Buffer.alloc(0);
  return { status, headers, content, chunked: query.has('chunked') && allowed };
}

function handle(request, response) {
  const connection = ends(request.stream ? request.stream.session.socket : request.socket, options.address, '');
  const { method, url } = request;
  let requestSize = 0;
  request.on('data', (piece) => { requestSize += piece.length; });
  request.on('end', () => {
    const { status, headers, content, chunked } = answer(method, url);
    if (!chunked && status !== 204 && status !== 304) headers['content-length'] = content.length;
    response.on('finish', () => log.write('server', method, url, status, requestSize, content.length, connection,
      options.protocol, options.tls));
    response.writeHead(status, headers);
    for (let start = 0; start < content.length; start += PIECE) response.write(content.subarray(start, start + PIECE));
    response.end();
  });
}

function make() {
  const secure = options.tls
    ? { key: fs.readFileSync(options.key), cert: fs.readFileSync(options.certificate) }
    : {};
  if (options.protocol === 'h2') {
    return options.tls ? http2.createSecureServer(secure, handle) : http2.createServer(handle);
  }
  const server = options.tls ? https.createServer(secure, handle) : http.createServer(handle);
  server.keepAliveTimeout = 120000;
  return server;
}

const server = make();
const unix = options.address.startsWith('/');
const where = unix ? { path: options.address } : { port: 0, host: options.address };
server.listen({ ...where, backlog: 256 }, () => console.log(unix ? 'ready' : `ready ${server.address().port}`));
process.stdin.on('end', () => process.exit(0)).resume();
