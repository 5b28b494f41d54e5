// Real frameworks behind the preview port, under a foreign host name and behind a proxy that ends TLS: the page, an edit
// that it takes over its own websocket, and a form. `FRAMEWORKS=all` tries every project of frameworks/projects.mjs, and
// a name tries those of that name; the table at the end is the one of docs/compatibility.md.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { launch } from './chromium.mjs'
import { Dev, until } from './dev.mjs'
import { all, Update, usual } from './frameworks/projects.mjs'
import { tlsFront } from './frameworks/tls-front.mjs'

const HOST = 'app.preview.test'
const EDITED = 'Second text of the page'
/** Installing a framework's packages takes minutes on a slow network. */
const READY_MS = 300_000
const STEP_MS = 60_000

const wanted = process.env.FRAMEWORKS
const projects = wanted ? all.filter(({ name }) => wanted === 'all' || name === wanted) : usual
assert.ok(projects.length > 0, `no framework has the name ${wanted}`)

/** The status of a form that a page of another site posts to the preview. */
function postFrom(origin, port) {
  const headers = {
    host: HOST,
    origin,
    'x-forwarded-proto': 'https',
    'content-type': 'application/x-www-form-urlencoded',
  }
  return new Promise((resolve, reject) => {
    const request = http.request({ port, method: 'POST', path: '/', headers, agent: false }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    })
    request.on('error', reject).end('a=b')
  })
}

describe('frameworks behind the preview port', () => {
  let browser
  const rows = []

  before(async () => {
    browser = await launch([`--host-resolver-rules=MAP ${HOST} 127.0.0.1`])
  })

  after(async () => {
    await browser?.close()
    console.log(
      '| framework | version | first answer | edit visible | how | form |\n| --- | --- | --- | --- | --- | --- |',
    )
    for (const row of rows) console.log(`| ${row.join(' | ')} |`)
  })

  for (const project of projects) {
    test(`${project.name} ${project.version}`, async () => {
      const started = Date.now()
      const dev = await Dev.write('project', project.files)
      dev.extra = ['--preview-hosts', '.preview.test']
      const front = await tlsFront(HOST, dev.port)
      const page = await browser.newPage({ ignoreHTTPSErrors: true })
      const sockets = []
      const refused = []
      page.on('websocket', (socket) => sockets.push(socket.url()))
      page.on('response', (response) => response.status() === 403 && refused.push(response.url()))
      try {
        await dev.start(READY_MS)
        const seconds = ((Date.now() - started) / 1000).toFixed(1)
        await page.goto(front.url)
        const shown = (text) => page.getByText(text, { exact: true }).first().waitFor({ timeout: STEP_MS })
        await shown(project.shows)
        await until('a websocket', () => sockets.length > 0, STEP_MS)
        for (const url of sockets) assert.match(url, new RegExp(`^wss://${HOST}:`))

        let form = ''
        if (project.form) {
          // The page's scripts may not be there yet; a form without them loads the page.
          await page.waitForLoadState('networkidle')
          await page.getByRole('button', { name: 'Send' }).click()
          await shown('posted')
          form = 'accepted'
          if (project.form.foreign) {
            assert.equal(await postFrom('https://evil.test', dev.port), project.form.foreign)
            if (project.form.foreign !== 200) form = 'accepted, that of another site refused'
          }
          await page.goto(front.url)
          await shown(project.shows)
        }

        await page.waitForLoadState('networkidle')
        await page.evaluate(() => (window.kept = true))
        const file = path.join(dev.folder, project.edit)
        const saved = Date.now()
        await writeFile(file, (await readFile(file, 'utf8')).replace(project.shows, EDITED))
        await shown(EDITED)
        const visible = Date.now() - saved
        const kept = await page.evaluate(() => window.kept === true)
        assert.equal(kept ? Update.hot : Update.load, project.update)
        assert.deepEqual(refused, [])
        rows.push([
          project.name,
          project.version,
          `${seconds} s`,
          `${visible} ms`,
          kept ? 'hot update' : 'page load',
          form,
        ])
      } finally {
        await page.close()
        front.close()
        await dev.remove()
      }
    })
  }
})
