// The console of `serve`: access by key, and agents in other processes.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { launch } from './chromium.mjs'
import { Console } from './console.mjs'
import { binary, freePort } from './dev.mjs'

describe('the console of serve', () => {
  let browser, home, url, base, key
  const settings = {}
  const children = []

  /** Runs the binary and passes each line of its output to `line`. */
  const start = (args, env, line) => {
    const child = spawn(binary, args, {
      env: { ...process.env, LOG_FORMAT: 'json', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    createInterface({ input: child.stdout }).on('line', line)
    children.push(child)
    return child
  }

  before(async () => {
    browser = await launch()
    home = await mkdtemp(path.join(tmpdir(), 'preview-agent-test-'))
    await writeFile(path.join(home, 'hello.txt'), 'hello')
    const port = String(await freePort())
    const serve = ['serve', home, '--listen', '127.0.0.1:0', '--console-port', port, '--no-write-back']
    url = await new Promise((resolve) =>
      start(serve, { XDG_CACHE_HOME: path.join(home, '.cache') }, (line) => {
        const setting = /^([A-Z_]+)=(.*)$/.exec(line)
        if (setting) {
          settings[setting[1]] = setting[2]
          return
        }
        const event = JSON.parse(line)
        if (event.event_type === 'console_listening') resolve(event.url)
      }),
    )
    ;[base, key] = url.split('#key=')
  })

  after(async () => {
    for (const child of children) child.kill('SIGKILL')
    await browser?.close()
    await rm(home, { recursive: true, force: true })
  })

  test('requests without the key are refused', async () => {
    assert.match(key, /^[0-9a-f]{32}$/)
    const ask = async (place, headers, method = 'GET') => {
      const body = method === 'POST' ? '{}' : undefined
      const own = { origin: new URL(base).origin, 'content-type': 'application/json' }
      return (await fetch(base + place, { method, body, headers: { ...own, ...headers } })).status
    }
    const places = [
      ['console/session'],
      ['console/feed'],
      ['console/dev-server/kill', 'POST'],
      ['_local/faults'],
      ['_local/faults', 'POST'],
    ]
    for (const [place, method] of places) {
      assert.equal(await ask(place, {}, method), 403, place)
      assert.equal(await ask(place, { 'x-console-key': '0'.repeat(32) }, method), 403, place)
    }
    assert.equal(await ask('console/session', { 'x-console-key': key }), 200)
    assert.equal(await ask(`console/session?key=${key}`, {}), 403)
    assert.equal(await ask('rest/v1/rpc/project_head', {}, 'POST'), 401)
    // The backend's own port has no fault switches.
    assert.equal((await fetch(`${settings.SUPABASE_URL}/_local/faults`)).status, 404)
  })

  test('the printed address opens the console; the key leaves the address and survives a reload', async () => {
    const { page } = await Console.open(browser, url)
    assert.ok(!page.url().includes(key), page.url())
    await page.reload()
    await page.locator('.pill', { hasText: 'Live' }).waitFor()
    await page.getByText('none in this program: serve runs the backend only').waitFor()
    await page.close()
  })

  test('an address without its key says what is missing, and continues when the key is given', async () => {
    const page = await browser.newPage()
    await page.goto(base)
    await page.getByText('This address lacks its key').waitFor()
    assert.equal(await page.locator('.row.file').count(), 0)
    assert.ok(await page.locator('.files').evaluate((pane) => pane.inert), 'its buttons cannot be used')
    await page.goto(url)
    await page.locator('.pill', { hasText: 'Live' }).waitFor()
    await page.close()
  })

  test('a page does not send its key to another program on the same port', async () => {
    const requests = []
    const other = createServer((request, answer) => {
      requests.push(request.url, JSON.stringify(request.headers))
      answer.end('0'.repeat(64))
    })
    await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { page } = await Console.open(browser, url)
    // As if the console had ended and another program listened on its port.
    await page.route(`${base}console/**`, (route) =>
      route.continue({ url: route.request().url().replace(base, `http://127.0.0.1:${other.address().port}/`) }),
    )
    await page.reload()
    await page.getByText('This address lacks its key').waitFor()
    assert.ok(requests.some((line) => line.startsWith('/console/proof')))
    assert.ok(!requests.join().includes(key), 'the key was sent')
    await page.close()
    other.close()
  })

  test('an agent in another process that publishes its status is shown, also on a page that is opened later', async () => {
    const env = {
      ...settings,
      PUBLISH_STATUS: 'true',
      STATUS_ADDR: '127.0.0.1:0',
      PREVIEW_PORT: String(await freePort()),
    }
    const project = path.join(home, '.agent', 'project')
    await new Promise((resolve) => {
      start(['run', '--project-dir', project, '--', 'sleep', '600'], env, (line) => {
        if (JSON.parse(line).event_type === 'dev_server_start') resolve()
      })
    })
    const { page } = await Console.open(browser, url)
    const agent = page.locator('.status div', { hasText: `Agent ${settings.SESSION_ID.slice(0, 8)}` })
    await agent.filter({ hasText: 'running' }).filter({ hasText: 'revision 1' }).waitFor()
    await page.close()
  })
})
