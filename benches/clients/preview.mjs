// node preview.mjs ROUNDS: what the preview proxy costs, beside the dev server itself, in one run and in turn. Prints medians and ratios as JSON.
// PREVIEW_AGENT is the binary. The dev server is Vite, with three paths of its own for what is measured without it.
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { connect } from 'node:net'
import path from 'node:path'
import { launch } from '../../tests/browser/chromium.mjs'
import { Dev, freePort, until } from '../../tests/browser/dev.mjs'
import { onDisk } from '../../tests/browser/seen.mjs'

const rounds = Number(process.argv[2] ?? 5)
const MODULES = 1_000
const LARGE = 100 << 20
const SOCKETS = 1_000
/** Requests of one round that are timed one by one. */
const REQUESTS = 400
const EDITS = 60
const RATE = 2_000

const config = `import http from 'node:http'
export default {
  plugins: [{
    name: 'measured',
    configureServer(server) {
      server.middlewares.use('/small', (request, response) => response.end('small'))
      server.middlewares.use('/large', (request, response) => {
        const chunk = Buffer.alloc(64 << 10)
        let left = ${LARGE} / chunk.length
        response.setHeader('content-length', ${LARGE})
        const write = () => {
          while (left > 0) {
            left -= 1
            if (!response.write(chunk)) return response.once('drain', write)
          }
          response.end()
        }
        write()
      })
      server.httpServer.on('upgrade', (request, socket) => {
        if (request.url !== '/socket') return
        socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n')
        socket.on('error', () => socket.destroy())
      })
    },
  }],
}
`

function project() {
  const names = Array.from({ length: MODULES }, (_, at) => `m${at}`)
  return {
    'package.json': JSON.stringify({
      private: true,
      type: 'module',
      scripts: { dev: 'vite' },
      dependencies: { vite: '8.4.0' },
    }),
    'vite.config.js': config,
    'index.html': '<!doctype html><title>x</title><p id="count"></p><script type="module" src="/src/main.js"></script>',
    'src/main.js': `${names.map((name) => `import { value as ${name} } from './${name}.js'`).join('\n')}
document.getElementById('count').textContent = 'modules: ' + [${names.join(', ')}].length\n`,
    'edited.txt': 'edit 0',
    ...Object.fromEntries(names.map((name, at) => [`src/${name}.js`, `export const value = ${at}\n`.repeat(1)])),
  }
}

const now = () => performance.now()

/** One load of the page of 1,000 modules, without a cache. */
async function load(browser, port) {
  const context = await browser.newContext()
  const page = await context.newPage()
  const started = now()
  await page.goto(`http://localhost:${port}/`)
  await page.getByText(`modules: ${MODULES}`).waitFor()
  const took = now() - started
  await context.close()
  return took
}

/** The time of each of some requests, one after the other on one connection. */
async function requests(port) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const times = []
  for (let at = 0; at < REQUESTS; at++) {
    const started = now()
    await get(port, '/small', agent)
    times.push(now() - started)
  }
  agent.destroy()
  return times
}

function get(port, url, agent) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path: url, agent }, (response) => {
      let bytes = 0
      response
        .on('data', (data) => (bytes += data.length))
        .on('end', () => resolve(bytes))
        .on('error', reject)
    })
    request.on('error', reject)
  })
}

async function download(port) {
  const started = now()
  const bytes = await get(port, '/large')
  if (bytes !== LARGE) throw new Error(`${bytes} bytes`)
  return now() - started
}

/** Resident bytes of the agent, which has the backend of \`dev\` in it. */
function resident(dev) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${dev.child.pid}/status`, 'utf8'))[1]) * 1024
}

/** How much memory so many open websockets take, in bytes. */
async function sockets(dev) {
  const before = resident(dev)
  const open = []
  const head = 'GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
  for (let at = 0; at < SOCKETS; at++) {
    const socket = connect(dev.port, '127.0.0.1')
    socket.write(head)
    await new Promise((resolve, reject) => socket.once('data', resolve).once('error', reject))
    open.push(socket)
  }
  const taken = resident(dev) - before
  for (const socket of open) socket.destroy()
  return taken
}

/** The times from a save to the disk, while \`rate\` requests a second are sent. */
async function edits(dev, rate) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 32 })
  let sent = 0
  let answered = 0
  const started = now()
  const timer = setInterval(() => {
    for (const due = ((now() - started) * rate) / 1000; sent < due; sent++) {
      get(dev.port, '/small', agent).then(
        () => (answered += 1),
        () => {},
      )
    }
  }, 5)
  const times = []
  for (let at = 1; at <= EDITS; at++) {
    const text = `edit ${at} at ${rate} in round ${Math.random()}`
    const written = onDisk(path.join(dev.projectDir, 'edited.txt'), text)
    const saved = performance.timeOrigin + now()
    await dev.rpc('upsert_project_file', {
      p_file_path: 'edited.txt',
      p_content: text,
      p_file_type: 'text',
      expected_version: null,
    })
    times.push((await written) - saved)
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
  clearInterval(timer)
  const reached = answered / ((now() - started) / 1000)
  agent.destroy()
  return { times, reached }
}

/** Medians, 99th percentiles and ratios of what was measured: times in milliseconds, memory in bytes. */
function summary({ load, request, download, downloadMemory, sockets, edits }) {
  const at = (values, part) => values.toSorted((a, b) => a - b)[Math.ceil(values.length * part) - 1]
  const compared = ({ proxy, direct }) => {
    const [through, without] = [at(proxy, 0.5), at(direct, 0.5)]
    return { proxy: through, direct: without, ratio: through / without, difference: through - without }
  }
  const late = (values) => ({ p50: at(values, 0.5), p99: at(values, 0.99) })
  const [idle, busy] = [late(edits.idle), late(edits.busy)]
  return {
    load: compared(load),
    request: compared(request),
    download: { ...compared(download), memory: downloadMemory },
    sockets: { count: SOCKETS, memory: sockets },
    edits: { idle, busy, p99_ratio: busy.p99 / idle.p99, requests_a_second: at(edits.reached, 0.5) },
  }
}

const direct = await freePort()
const dev = await Dev.write('project', project())
dev.extra = ['--dev-server-port', String(direct), '--no-write-back']
const browser = await launch()
try {
  await dev.start()
  await until('the dev server', () => get(direct, '/small').catch(() => 0))
  const ports = { proxy: dev.port, direct }
  const measured = {
    load: { proxy: [], direct: [] },
    request: { proxy: [], direct: [] },
    download: { proxy: [], direct: [] },
  }
  for (const port of Object.values(ports)) {
    await load(browser, port)
    await requests(port)
    await download(port)
  }
  measured.downloadMemory = -resident(dev)
  await download(dev.port)
  measured.downloadMemory += resident(dev)
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 ? ['proxy', 'direct'] : ['direct', 'proxy']
    for (const which of order) measured.load[which].push(await load(browser, ports[which]))
    for (const which of order) measured.request[which].push(...(await requests(ports[which])))
    for (const which of order) measured.download[which].push(await download(ports[which]))
  }
  measured.sockets = await sockets(dev)
  measured.edits = { idle: [], busy: [], reached: [] }
  for (let round = 0; round < rounds; round++) {
    measured.edits.idle.push(...(await edits(dev, 0)).times)
    const busy = await edits(dev, RATE)
    measured.edits.busy.push(...busy.times)
    measured.edits.reached.push(busy.reached)
  }
  console.log(JSON.stringify(summary(measured), null, 2))
} finally {
  await browser.close()
  await dev.remove()
}
