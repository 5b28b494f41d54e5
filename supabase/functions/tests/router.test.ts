import { createServer, type IncomingMessage, type Server, request as sendRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { FlyDouble } from './fly_double.ts'
import { assert, assertEquals } from './support.ts'

const ROUTER = new URL('../../../deploy/router/router.mjs', import.meta.url).pathname
const DOMAIN = 'previews.example'

interface Router {
  port: number
  stop(): Promise<void>
}

/** Starts the router as a process, as it is deployed. */
async function startRouter(target: string): Promise<Router> {
  const process = new Deno.Command('node', {
    args: [ROUTER],
    env: { PREVIEW_DOMAIN: DOMAIN, ROUTER_TARGET: target, PORT: '0' },
    stdin: 'null',
    stdout: 'piped',
    stderr: 'inherit',
  }).spawn()
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader()
  const { value } = await reader.read()
  const port = Number(/^listening (\d+)/.exec(value ?? '')?.[1])
  assert(port > 0, `the router printed ${value}`)
  return {
    port,
    stop: async () => {
      process.kill('SIGTERM')
      await process.status
      await reader.cancel()
    },
  }
}

interface Answer {
  status: number
  headers: IncomingMessage['headers']
  body: string
}

/** A request with a Host header, which `fetch` does not allow to set. */
function ask(port: number, host: string, path = '/', body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST'
    const request = sendRequest(
      { host: '127.0.0.1', port, path, method, headers: { host }, agent: false },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (piece) => {
          text += piece
        })
        answer.on('end', () => resolve({ status: answer.statusCode!, headers: answer.headers, body: text }))
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

/** The first bytes of the answer to a websocket upgrade, and what the other side sends back for `ping`. */
async function upgrade(port: number, host: string): Promise<{ head: string; echo: string }> {
  const socket = await Deno.connect({ hostname: '127.0.0.1', port })
  const lines = ['GET /hmr HTTP/1.1', `Host: ${host}`, 'Connection: Upgrade', 'Upgrade: websocket', '', '']
  await socket.write(new TextEncoder().encode(lines.join('\r\n')))
  const read = async () => {
    const buffer = new Uint8Array(4096)
    const count = await socket.read(buffer)
    return new TextDecoder().decode(buffer.subarray(0, count ?? 0))
  }
  const head = await read()
  let echo = ''
  if (head.startsWith('HTTP/1.1 101')) {
    await socket.write(new TextEncoder().encode('ping'))
    echo = await read()
  }
  socket.close()
  return { head, echo }
}

Deno.test('on Fly each host name reaches its own machine, through the header fly-replay', async () => {
  const fly = new FlyDouble()
  const router = await startRouter(`fly-replay:${fly.app}`)
  try {
    const [one, other] = [await fly.launch('preview-1'), await fly.launch('preview-2')]
    for (const machine of [one, other]) {
      const host = `${machine.id}.${DOMAIN}`
      const { headers, body } = await ask(router.port, host, '/page?x=1')
      assertEquals([headers['fly-replay'], body], [`app=${fly.app};instance=${machine.id}`, ''])
      assertEquals(await fly.replay(headers['fly-replay'] as string), machine.id)
    }
    assertEquals((await ask(router.port, `${one.id.toUpperCase()}.PREVIEWS.EXAMPLE:443`)).status, 200)
    one.state = 'suspended'
    const again = await ask(router.port, `${one.id}.${DOMAIN}`)
    assertEquals(await fly.replay(again.headers['fly-replay'] as string), one.id, 'a suspended machine is started')
    const { head } = await upgrade(router.port, `${one.id}.${DOMAIN}`)
    assert(head.includes(`fly-replay: app=${fly.app};instance=${one.id}`), `a websocket is replayed too: ${head}`)
    const unknown = await ask(router.port, `d0ffffff.${DOMAIN}`)
    assertEquals(await fly.replay(unknown.headers['fly-replay'] as string), null, 'a machine that does not exist')
    for (const host of [
      'previews.example',
      `a.b.${DOMAIN}`,
      `a_b.${DOMAIN}`,
      `a;app=other.${DOMAIN}`,
      'one.other.example',
      '',
    ]) {
      const { status, headers } = await ask(router.port, host)
      assert(status >= 400 && headers['fly-replay'] === undefined, `${host}: ${status}`)
    }
    assertEquals((await ask(router.port, '10.0.0.1:8080', '/healthz')).status, 200, "the router's own health")
  } finally {
    await router.stop()
    await fly.stop()
  }
})

/** A machine's preview: answers with what it received, and echoes what a websocket sends. */
async function startPreview(): Promise<{ server: Server; port: number }> {
  const server = createServer((request, response) => {
    if (request.url === '/slow') return
    let body = ''
    request.on('data', (piece) => {
      body += piece
    })
    request.on('end', () => {
      const { headers, method, url } = request
      response.setHeader('x-machine', 'one').end(JSON.stringify({ method, url, headers, body }))
    })
  })
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n')
    socket.on('error', () => socket.destroy())
    socket.pipe(socket)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', () => done()))
  return { server, port: (server.address() as AddressInfo).port }
}

Deno.test('on Docker and Kubernetes requests and websockets are passed on by name', async () => {
  const { server, port } = await startPreview()
  // In place of a name that a resolver knows: the machine `1` is 127.0.0.1.
  const router = await startRouter(`http://127.0.0.{machine}:${port}`)
  const host = `1.${DOMAIN}`
  try {
    const answer = await ask(router.port, host, '/page?x=1', 'content')
    const seen = JSON.parse(answer.body)
    assertEquals([answer.status, answer.headers['x-machine']], [200, 'one'])
    assertEquals([seen.method, seen.url, seen.body, seen.headers.host], ['POST', '/page?x=1', 'content', host])
    assertEquals([seen.headers['x-forwarded-host'], seen.headers['x-forwarded-proto']], [host, 'http'])
    assert(seen.headers['x-forwarded-for'].includes('127.0.0.1'), seen.headers['x-forwarded-for'])
    const socket = await upgrade(router.port, host)
    assert(socket.head.startsWith('HTTP/1.1 101'), socket.head)
    assertEquals(socket.echo, 'ping')
    server.closeAllConnections()
    server.close()
    const gone = await ask(router.port, host)
    assertEquals(gone.status, 502)
    assert(gone.body.includes('machine 1 cannot be reached'), gone.body)
    assert((await upgrade(router.port, host)).head.startsWith('HTTP/1.1 502'), 'a websocket too')
    assertEquals((await ask(router.port, 'elsewhere.example')).status, 404)
  } finally {
    await router.stop()
    server.closeAllConnections()
    server.close()
  }
})

Deno.test('settings of the router that cannot be used are named', async () => {
  const wrong: [string, Record<string, string>][] = [
    ['PREVIEW_DOMAIN', { ROUTER_TARGET: 'fly-replay:a' }],
    ['PREVIEW_DOMAIN', { PREVIEW_DOMAIN: 'https://x', ROUTER_TARGET: 'fly-replay:a' }],
    ['ROUTER_TARGET', { PREVIEW_DOMAIN: DOMAIN }],
    ['ROUTER_TARGET', { PREVIEW_DOMAIN: DOMAIN, ROUTER_TARGET: 'http://preview:3001' }],
    ['ROUTER_TARGET', { PREVIEW_DOMAIN: DOMAIN, ROUTER_TARGET: 'fly-replay:' }],
    ['PORT', { PREVIEW_DOMAIN: DOMAIN, ROUTER_TARGET: 'fly-replay:a', PORT: 'x' }],
  ]
  for (const [name, env] of wrong) {
    const path = Deno.env.get('PATH') ?? '/usr/bin:/bin'
    const command = new Deno.Command('node', { args: [ROUTER], env: { ...env, PATH: path }, clearEnv: true })
    const { code, stderr } = await command.output()
    const message = new TextDecoder().decode(stderr)
    assertEquals(code, 64, name)
    assert(message.includes(name) && message.trim().split('\n').length === 1, message)
  }
})
