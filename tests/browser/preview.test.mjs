// The preview port in a browser: opened before anything is there, while the dev server is away, and after it is back.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { launch } from './chromium.mjs'
import { Dev, freePort, listens, until } from './dev.mjs'
import { fixtures } from './fixtures.mjs'

/** The first start installs the fixture's packages from the registry. */
const READY_MS = 180_000
const STEP_MS = 60_000

describe('the preview port', () => {
  const [fixture] = fixtures
  let browser, dev, page, status
  const loads = []

  const title = () => page.title()
  const shown = (text, timeout) => page.getByText(text).first().waitFor({ timeout })

  before(async () => {
    browser = await launch()
    dev = await Dev.prepare(fixture.name)
    const statusPort = await freePort()
    status = `http://127.0.0.1:${statusPort}`
    dev.extra = ['--status-addr', `127.0.0.1:${statusPort}`]
    page = await browser.newPage()
    page.on('load', () => loads.push(Date.now()))
  })

  after(async () => {
    await browser?.close()
    await dev?.remove()
  })

  test('a page that is opened at once becomes the app', async () => {
    dev.launch()
    await until('the port', () => listens(dev.port))
    await page.goto(dev.url)
    const titles = new Set([await title()])
    await until(
      'the app',
      async () => {
        // A page that is being replaced has no title for a moment.
        titles.add(await title().catch(() => ''))
        return page.getByText(fixture.shows).first().isVisible()
      },
      READY_MS,
    )
    assert.ok(titles.has('Installing packages'), [...titles].join(', '))
    assert.equal(loads.length, 2, 'the waiting page, then the app, and nothing between')
  })

  test('the waiting page is readable on a narrow screen, in the dark, and to a screen reader', async () => {
    const other = await browser.newPage({ viewport: { width: 320, height: 600 }, colorScheme: 'dark' })
    const html = await readFile(path.resolve(import.meta.dirname, '../../crates/preview-proxy/src/page.html'), 'utf8')
    const reasons = [{ code: 'config_error', advice: 'fix the configuration of the project in this directory' }]
    const lines = ['x'.repeat(300), '<script>document.title = "run"</script>']
    const state = { title: 'The preview cannot start', failed: true, detail: 'vite.config.js:3', reasons, lines }
    const filled = html
      .replace('%REFRESH%', '')
      .replace('%STATE%', JSON.stringify(state).replaceAll('<', '\\u003c'))
      .replaceAll(/%[A-Z]+%/g, '')
    await other.route('http://preview.test/**', (route) =>
      route.request().url().endsWith('/')
        ? route.fulfill({ contentType: 'text/html', body: filled })
        : route.fulfill({ status: 204 }),
    )
    await other.goto('http://preview.test/')
    assert.equal(await other.title(), 'The preview cannot start')
    const { scroll, width, back, live } = await other.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      width: innerWidth,
      back: getComputedStyle(document.body).backgroundColor,
      live: document.querySelector('[aria-live]').textContent,
    }))
    assert.ok(scroll <= width, `${scroll} > ${width}`)
    assert.equal(back, 'rgb(22, 22, 23)')
    assert.match(live, /cannot start[\s\S]*config_error/)
    await other.close()
  })

  test('a broken configuration is shown with its reason, and a repair shows the app', async () => {
    const config = path.join(dev.folder, 'vite.config.js')
    const good = await readFile(config, 'utf8')
    await writeFile(config, `${good}\nexport const broken = {`)
    const agent = async () => (await fetch(`${status}/status`)).json()
    await until('the fault', async () => (await agent()).dev_server.reason === 'config_error', STEP_MS)
    process.kill((await agent()).dev_server.pid, 'SIGKILL')
    // The page that is open stays as it is; Vite's client waits for the server. The next navigation gets the reason.
    await until('the end', async () => (await agent()).dev_server.upstream === null)
    await page.reload()
    await shown('config_error', STEP_MS)
    await until('the end of the tries', async () => (await title()) === 'The preview cannot start', STEP_MS)
    const count = loads.length
    assert.match(await page.locator('#lines').textContent(), /vite\.config\.js/)
    await writeFile(config, good)
    await shown(fixture.shows, STEP_MS)
    assert.equal(loads.length, count + 1, 'one reload')
  })

  test('an edit reaches the page by HMR through the proxy', async () => {
    const file = path.join(dev.folder, fixture.file)
    const count = loads.length
    const text = await readFile(file, 'utf8')
    // The page's own connection must be there first.
    await page.waitForFunction(() => performance.getEntriesByType('navigation').length === 1)
    await until('the update', async () => {
      await writeFile(file, text.replace(fixture.shows, 'A new sentence'))
      return page.getByText('A new sentence').first().isVisible()
    })
    assert.equal(loads.length, count, 'no reload')
  })
})
