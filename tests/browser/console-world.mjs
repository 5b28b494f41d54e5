// One `preview-agent dev` with its console, a browser, and what the console's tests ask of both.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import path from 'node:path'
import { launch } from './chromium.mjs'
import { Console, STEP_MS } from './console.mjs'
import { Dev, freePort, until } from './dev.mjs'

export class ConsoleWorld {
  static async start(fixture) {
    const world = new ConsoleWorld()
    world.browser = await launch()
    world.dev = await Dev.prepare(fixture)
    world.dev.extra = ['--console-port', String(await freePort())]
    await world.dev.start()
    world.url = (await world.dev.event('console_listening')).url
    ;[world.base, world.key] = world.url.split('#key=')
    return world
  }

  async stop() {
    await this.browser?.close()
    await this.dev?.remove()
  }

  /** Opens the console in a new page. */
  open(options) {
    return Console.open(this.browser, this.url, options)
  }

  /** A file as the developer's folder has it. */
  sourceOf(name) {
    return readFile(path.join(this.dev.folder, name), 'utf8')
  }

  /** A file as the agent has written it. */
  copy(name) {
    return readFile(path.join(this.dev.projectDir, name))
  }

  /** Resolves when the agent has written exactly these bytes. */
  holds(name, bytes) {
    const wanted = Buffer.from(bytes)
    return until(`${name} on disk`, async () => (await this.copy(name).catch(() => null))?.equals(wanted), STEP_MS)
  }

  /** Resolves when the agent has deleted the file. */
  gone(name) {
    const isMissing = () =>
      this.copy(name).then(
        () => false,
        () => true,
      )
    return until(`${name} deleted`, isMissing, STEP_MS)
  }

  /** The newest row of each path in the database. */
  async rows() {
    return (await this.dev.rpc('list_project_changes', { since_revision: 0, with_content: false })).files
  }

  /** A file's text in the database. */
  async textOf(file) {
    const row = (await this.rows()).find((row) => row.file_path === file)
    return (await this.dev.rpc('get_project_file', { p_file_path: file, p_version: row.version })).content
  }

  /** Saves a file as another editor does. */
  saveElsewhere(file, text) {
    const args = { p_file_path: file, p_content: text, p_file_type: 'text', expected_version: null }
    return this.dev.rpc('upsert_project_file', args)
  }

  /** Changes the backend's fault switches. */
  setFaults(faults) {
    const origin = new URL(this.base).origin
    return fetch(new URL('_local/faults', this.base), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-console-key': this.key, origin },
      body: JSON.stringify(faults),
    })
  }
}

/** Passes the console's feed on, with each agent status replaced by what `change` makes of it. */
export async function startChangedFeed(world, change) {
  const server = createServer(async (incoming, outgoing) => {
    const { search } = new URL(incoming.url, world.base)
    const feed = await fetch(`${world.base}console/feed${search}`)
    outgoing.writeHead(feed.status, { 'content-type': 'text/event-stream', 'access-control-allow-origin': '*' })
    const lines = feed.body.pipeThrough(new TextDecoderStream()).pipeThrough(lineStream())
    for await (const line of lines) {
      const data = line.startsWith('data: {') ? JSON.parse(line.slice('data: '.length)) : null
      if (data?.agent) data.agent = change(data.agent)
      if (!outgoing.write(data ? `data: ${JSON.stringify(data)}\n` : `${line}\n`)) await once(outgoing, 'drain')
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** Splits a text stream into lines. */
function lineStream() {
  let rest = ''
  return new TransformStream({
    transform(piece, controller) {
      const lines = (rest + piece).split('\n')
      rest = lines.pop()
      for (const line of lines) controller.enqueue(line)
    },
  })
}

/** The status of a request with headers that `fetch` does not allow, such as `Host`. */
export function statusOf(url, options) {
  return new Promise((resolve, reject) => {
    request(url, options, (answer) => resolve(answer.resume().statusCode))
      .on('error', reject)
      .end()
  })
}
