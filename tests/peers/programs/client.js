// HTTP/1.1 and HTTP/2 clients on Node.js. Options: see __init__.py.
'use strict';

const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const https = require('https');
const net = require('net');
const { CallLog, ends } = require('./call_log.js');

const options = JSON.parse(process.argv[2]);
const log = new CallLog(options.log);
const unix = options.base.startsWith('http+unix:') ? decodeURIComponent(options.base.slice('http+unix://'.length)) : '';
const base = new URL(unix ? 'http://localhost' : options.base);
const tls = base.protocol === 'https:';
const ca = fs.readFileSync(options.certificate);
const PIECE = 10000;

function contentOf(planned) {
  return Buffer.from(planned.unit.repeat(Math.ceil(planned.size / planned.unit.length)).slice(0, planned.size));
}

function send(stream, planned) {
  const content = contentOf(planned);
  for (let start = 0; start < content.length; start += PIECE) stream.write(content.subarray(start, start + PIECE));
  stream.end();
}

function http1() {
  const client = tls ? https : http;
  // With a limit of sockets Node.js keeps connections for the calls that wait, whatever keepAlive says.
  const agent = new client.Agent({
    keepAlive: options.keep,
    maxSockets: options.keep ? options.concurrency : Infinity,
    // Node.js 24.19 finds no IPv6 address among a certificate's names; its issuer is verified all the same.
    checkServerIdentity: () => undefined,
  });
  const call = (planned) => new Promise((resolve, reject) => {
    const headers = Object.fromEntries(planned.headers);
    if (planned.chunked) headers['Transfer-Encoding'] = 'chunked';
    else if (planned.size) headers['Content-Length'] = planned.size;
    if (planned.expect) headers.Expect = '100-continue';
    const request = client.request({
      ...(unix ? { socketPath: unix } : { host: base.hostname.replace(/[[\]]/g, ''), port: base.port }), path: planned.path, method: planned.method, headers, agent, ca,
    });
    request.on('error', reject);
    request.on('response', (response) => {
      const connection = ends(response.socket, '', unix);
      let size = 0;
      response.on('error', reject);
      response.on('data', (piece) => { size += piece.length; });
      response.on('end', () => {
        log.write('client', planned.method, planned.path, response.statusCode, planned.size, size, connection,
          'http/1.1', tls);
        resolve();
      });
    });
    if (planned.expect) {
      request.on('continue', () => send(request, planned));
      request.flushHeaders();
    } else {
      send(request, planned);
    }
  });
  return { call, close: () => agent.destroy() };
}

function connect() {
  return new Promise((resolve, reject) => {
    const session = http2.connect(base, unix ? { createConnection: () => net.connect(unix) } : { ca });
    session.on('error', reject);
    session.on('connect', () => resolve(session));
  });
}

function http2Client() {
  let kept = null;
  const call = async (planned) => {
    if (kept === null && options.keep) kept = connect();
    const session = await (kept || connect());
    await new Promise((resolve, reject) => {
      const headers = Object.fromEntries(planned.headers.map(([name, value]) => [name.toLowerCase(), value]));
      if (planned.size && !planned.chunked) headers['content-length'] = planned.size;
      const connection = ends(session.socket, '', unix);
      const stream = session.request({ ':method': planned.method, ':path': planned.path, ...headers },
        { endStream: planned.size === 0 });
      let status = 0;
      let size = 0;
      stream.on('error', reject);
      stream.on('response', (received) => { status = received[':status']; });
      stream.on('data', (piece) => { size += piece.length; });
      stream.on('end', () => {
        log.write('client', planned.method, planned.path, status, planned.size, size, connection, 'h2', tls);
        resolve();
      });
      if (planned.size) send(stream, planned);
    });
    if (!options.keep) session.close();
  };
  return { call, close: async () => { if (kept) (await kept).close(); } };
}

async function main() {
  const planned = fs.readFileSync(options.plan, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  const client = options.protocol === 'h2' ? http2Client() : http1();
  console.log('ready');
  await new Promise((resolve) => { process.stdin.once('data', resolve); });
  const work = async (first) => {
    for (let at = first; at < planned.length; at += options.concurrency) await client.call(planned[at]);
  };
  await Promise.all(Array.from({ length: options.concurrency }, (_, first) => work(first)));
  await client.close();
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
