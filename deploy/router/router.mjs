// Routes requests for <machine>.<domain> to the preview of that machine: on Fly by the header fly-replay, elsewhere (Docker,
// Kubernetes) as a reverse proxy to a host that contains the machine's name. Node 20 or newer, no packages.
//
//   PREVIEW_DOMAIN  the domain below which each machine has a name, for example previews.example.com
//   ROUTER_TARGET   fly-replay:<app>, or an address with {machine}, for example http://preview-{machine}:3001
//   PORT            default 8080
import { Agent, createServer, request as sendRequest } from 'node:http'
import { pathToFileURL } from 'node:url'

/** A name of a container, a pod or a Fly machine: one DNS label. */
const MACHINE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
/** Headers that belong to one connection (RFC 9110, section 7.6.1), which a proxy does not pass on. */
const HOP_BY_HOP = ['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade']
/** How long a connection to a machine may take. Milliseconds. */
const CONNECT_TIMEOUT_MS = 5_000
/** How long a client may take for the headers of a request. Milliseconds. */
const HEADERS_TIMEOUT_MS = 10_000

/** Reads the settings. Throws, naming the setting, where one is missing or cannot be used. */
export function readSettings(environment) {
  const domain = environment.PREVIEW_DOMAIN?.toLowerCase()
  if (!domain?.split('.').every((label) => MACHINE_NAME.test(label))) {
    throw new Error('PREVIEW_DOMAIN must be a domain, for example previews.example.com')
  }
  const port = Number(environment.PORT || 8080)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error('PORT must be a port number')
  return { domain, port, target: readTarget(environment.ROUTER_TARGET ?? '') }
}

function readTarget(text) {
  const app = /^fly-replay:([a-z0-9-]+)$/.exec(text)?.[1]
  if (app) return { kind: 'fly_replay', app }
  const isAddress = text.startsWith('http://') && URL.canParse(text.replaceAll('{machine}', 'x'))
  if (!isAddress || !text.includes('{machine}')) {
    throw new Error('ROUTER_TARGET must be fly-replay:<app>, or an http:// address that contains {machine}')
  }
  return { kind: 'proxy', address: text }
}

/** The machine that a Host header names, or null: `abc.previews.example.com:443` names `abc`. */
export function machineOf(host, domain) {
  const name = host?.toLowerCase().replace(/:\d+$/, '') ?? ''
  if (!name.endsWith(`.${domain}`)) return null
  const machine = name.slice(0, -domain.length - 1)
  return MACHINE_NAME.test(machine) ? machine : null
}

/** The router as an HTTP server that does not listen yet. */
export function createRouter({ domain, target }) {
  const agent = new Agent({ keepAlive: true })
  const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: 0 }, (request, response) => {
    const machine = machineOf(request.headers.host, domain)
    // The router's own health check names no machine.
    if (machine === null && request.url === '/healthz') return respond(response, 200, 'ok')
    if (machine === null) return respond(response, 404, `no machine is named: use https://<machine>.${domain}/`)
    if (target.kind === 'fly_replay') {
      return response.writeHead(200, { 'fly-replay': replayHeader(target, machine), 'content-length': 0 }).end()
    }
    proxyRequest(request, response, machine, target, agent)
  })
  server.on('upgrade', (request, socket, head) => {
    const machine = machineOf(request.headers.host, domain)
    socket.on('error', () => socket.destroy())
    if (machine === null) return endSocket(socket, '404 Not Found')
    // Fly's proxy replays the request before any websocket is accepted, so the answer is an ordinary one.
    if (target.kind === 'fly_replay')
      return endSocket(socket, '200 OK', `fly-replay: ${replayHeader(target, machine)}\r\n`)
    proxyUpgrade(request, socket, head, machine, target)
  })
  return server
}

function replayHeader({ app }, machine) {
  return `app=${app};instance=${machine}`
}

function respond(response, status, text) {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' })
  response.end(`${text}\n`)
}

function endSocket(socket, status, headers = '') {
  socket.end(`HTTP/1.1 ${status}\r\n${headers}Content-Length: 0\r\nConnection: close\r\n\r\n`)
}

/** The options of the request to the machine. `Host` is passed on: the agent checks it, and pages see their own address. */
function upstreamOptions(request, machine, target, headers) {
  const base = new URL(target.address.replaceAll('{machine}', machine))
  const prior = request.headers['x-forwarded-for']
  const client = request.socket.remoteAddress ?? 'unknown'
  return {
    host: base.hostname,
    port: base.port || 80,
    method: request.method,
    path: request.url,
    headers: {
      ...headers,
      'x-forwarded-for': prior ? `${prior}, ${client}` : client,
      'x-forwarded-proto': request.headers['x-forwarded-proto'] ?? 'http',
      'x-forwarded-host': request.headers.host,
    },
  }
}

function withoutHopByHop(headers) {
  const named = String(headers.connection ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name) && !named.includes(name)),
  )
}

function proxyRequest(request, response, machine, target, agent) {
  const options = upstreamOptions(request, machine, target, withoutHopByHop(request.headers))
  const upstream = sendRequest({ ...options, agent })
  const fail = (error) => {
    if (response.headersSent) return response.destroy()
    respond(response, 502, `machine ${machine} cannot be reached: ${error.code ?? error.message}`)
  }
  limitConnecting(upstream)
  upstream.on('error', fail)
  upstream.on('response', (answer) => {
    response.writeHead(answer.statusCode, withoutHopByHop(answer.headers))
    answer.pipe(response)
    answer.on('error', () => response.destroy())
  })
  response.on('close', () => upstream.destroy())
  request.pipe(upstream)
}

function proxyUpgrade(request, socket, head, machine, target) {
  const { connection, upgrade } = request.headers
  const headers = { ...withoutHopByHop(request.headers), connection, upgrade }
  const upstream = sendRequest(upstreamOptions(request, machine, target, headers))
  limitConnecting(upstream)
  upstream.on('error', () => endSocket(socket, '502 Bad Gateway'))
  // The machine refuses the upgrade with an ordinary answer.
  upstream.on('response', (answer) => {
    endSocket(socket, `${answer.statusCode} ${answer.statusMessage}`)
    answer.destroy()
  })
  upstream.on('upgrade', (answer, machineSocket, machineHead) => {
    const lines = []
    for (let at = 0; at < answer.rawHeaders.length; at += 2) {
      lines.push(`${answer.rawHeaders[at]}: ${answer.rawHeaders[at + 1]}\r\n`)
    }
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`)
    socket.write(machineHead)
    machineSocket.write(head)
    machineSocket.on('error', () => socket.destroy())
    machineSocket.on('close', () => socket.destroy())
    socket.on('close', () => machineSocket.destroy())
    machineSocket.pipe(socket).pipe(machineSocket)
  })
  socket.on('close', () => upstream.destroy())
  upstream.end()
}

function limitConnecting(upstream) {
  upstream.on('socket', (socket) => {
    if (!socket.connecting) return
    const timer = setTimeout(() => upstream.destroy(new Error('no connection within 5 s')), CONNECT_TIMEOUT_MS)
    socket.once('connect', () => clearTimeout(timer))
    socket.once('close', () => clearTimeout(timer))
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    const settings = readSettings(process.env)
    const server = createRouter(settings)
    server.listen(settings.port, () => console.log(`listening ${server.address().port}`))
    for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0))
  } catch (error) {
    console.error(`router: ${error.message}`)
    process.exit(64)
  }
}
