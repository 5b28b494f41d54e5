// A private preview inside frames of another site, as an editor shows it. Contexts of the browser block third-party cookies.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { launch } from './chromium.mjs'
import { Dev } from './dev.mjs'
import { tlsFront } from './frameworks/tls-front.mjs'

const PREVIEW = 'app.preview.test'
const EDITOR = 'editor.other.test'
const TOKEN = 'a-token-of-this-test'
const STEP_MS = 30_000

/** Shows the path and the cookies of each request, and sets a cookie that is not partitioned. */
const server = `import { createServer } from 'node:http'
createServer((request, response) => {
  response.setHeader('content-type', 'text/html')
  response.setHeader('set-cookie', 'plain=1; Path=/; Secure; SameSite=None')
  response.end(\`<p>page \${request.url}</p><pre>\${request.headers.cookie ?? 'no cookie'}</pre>\`)
}).listen(process.env.PORT, process.env.HOST)
`

describe('a private preview in frames of another site', () => {
  let browser, context, dev, preview, editor, editorServer

  before(async () => {
    dev = await Dev.write('project', {
      'package.json': JSON.stringify({ private: true, type: 'module', scripts: { dev: 'node server.js' } }),
      'server.js': server,
    })
    dev.extra = ['--preview-hosts', PREVIEW]
    dev.environment = { PREVIEW_ACCESS_TOKEN: TOKEN }
    await dev.start()
    preview = await tlsFront(PREVIEW, dev.port)
    editorServer = createServer((_, response) => {
      response.setHeader('content-type', 'text/html').end('<!doctype html><title>editor</title>')
    })
    await new Promise((resolve) => editorServer.listen(0, '127.0.0.1', resolve))
    editor = await tlsFront(EDITOR, editorServer.address().port)
    const hosts = [PREVIEW, EDITOR].map((host) => `MAP ${host} 127.0.0.1`).join(', ')
    browser = await launch([`--host-resolver-rules=${hosts}`])
    context = await browser.newContext({ ignoreHTTPSErrors: true })
  })

  after(async () => {
    await browser?.close()
    for (const front of [preview, editor]) front?.close()
    editorServer?.close()
    await dev?.remove()
  })

  /** Adds a frame with this path of the preview, and gives the text that it shows. */
  async function frameText(page, path) {
    const name = `frame-${path}`
    await page.evaluate(
      ([name, src]) => {
        const frame = document.createElement('iframe')
        Object.assign(frame, { name, src })
        document.body.append(frame)
      },
      [name, new URL(path, preview.url).href],
    )
    const body = page.frameLocator(`iframe[name="${name}"]`).locator('body')
    await body
      .getByText(/page|access/)
      .first()
      .waitFor({ timeout: STEP_MS })
    return body.innerText()
  }

  test('one frame brings the token, and the others have the cookie', async () => {
    const page = await context.newPage()
    await page.goto(editor.url)
    assert.match(await frameText(page, '/closed'), /No access to this preview/)
    assert.match(await frameText(page, `/first?preview_token=${TOKEN}`), /page \/first\s+no cookie/)
    const second = await frameText(page, '/second')
    assert.match(second, /page \/second/)
    assert.doesNotMatch(second, /plain=1/, 'the browser blocks third-party cookies')
    // Another tab of the same site.
    const tab = await context.newPage()
    await tab.goto(editor.url)
    assert.match(await frameText(tab, '/third'), /page \/third/)
  })

  test('a tab of its own needs the token, and keeps the access', async () => {
    const page = await context.newPage()
    const closed = await page.goto(preview.url)
    assert.equal(closed.status(), 401)
    await page.goto(`${preview.url}?preview_token=${TOKEN}`)
    assert.equal(page.url(), preview.url, 'the token is not in the address')
    const other = await context.newPage()
    assert.equal((await other.goto(preview.url)).status(), 200)
    assert.match(await other.locator('body').innerText(), /plain=1/, 'outside of frames every cookie is sent')
  })
})
