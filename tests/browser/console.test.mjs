// The console, as people use it: in a browser, beside a running agent and its dev server.
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { violations } from './access.mjs'
import { launch } from './chromium.mjs'
import { Console } from './console.mjs'
import { Dev, freePort, until } from './dev.mjs'

const HEADLINE = 'src/components/Headline.jsx'
const SHOWN = 'Quiet water tonight'
const LONG = 60_000
/** Where the screenshots go; `SCREENSHOTS=docs` renews the README's. */
const pictures = path.resolve(import.meta.dirname, '../..', process.env.SCREENSHOTS ?? 'target/screenshots')

describe('console', () => {
  let browser, dev, url, base, key, console_, source

  before(async () => {
    browser = await launch()
    dev = await Dev.prepare('react-vite')
    dev.extra = ['--console-port', String(await freePort())]
    await dev.start()
    url = (await dev.event('console_listening')).url
    ;[base, key] = url.split('#key=')
    source = await readFile(path.join(dev.folder, HEADLINE), 'utf8')
    console_ = await Console.open(browser, url)
    await console_.preview().getByText(SHOWN).waitFor()
  })

  after(async () => {
    await browser?.close()
    await dev?.remove()
  })

  const copy = (name) => readFile(path.join(dev.projectDir, name))
  const holds = (name, bytes) =>
    until(`${name} on disk`, async () => (await copy(name).catch(() => null))?.equals(Buffer.from(bytes)), LONG)
  const gone = (name) =>
    until(
      `${name} gone`,
      async () =>
        copy(name).then(
          () => false,
          () => true,
        ),
      LONG,
    )
  const rows = async () => (await dev.rpc('list_project_changes', { since_revision: 0, with_content: false })).files
  const saveElsewhere = (file, text) =>
    dev.rpc('upsert_project_file', { p_file_path: file, p_content: text, p_file_type: 'text', expected_version: null })
  const post = (place, body) =>
    fetch(new URL(place, base), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-console-key': key, origin: new URL(base).origin },
      body: JSON.stringify(body),
    })

  test('the address is among the first lines', () => {
    const at = dev.events.findIndex((event) => event.event_type === 'console_listening')
    assert.ok(at >= 0 && at < 4, `line ${at}`)
  })

  test('an edit is saved by itself, seen in the preview, and its way is measured', async () => {
    await console_.show(HEADLINE)
    await console_.type(source.replace(SHOWN, 'Typed in the console'))
    await console_.preview().getByText('Typed in the console').waitFor()
    await console_.saved()
    const edit = console_.page.locator('.edits li').first()
    for (const step of ['saved', 'sent', 'on disk', 'visible']) {
      await edit.locator('.step:not(.open)', { hasText: step }).waitFor()
    }
    // Each with its time since the edit began, one after the other.
    const times = (await edit.locator('.step b').allInnerTexts()).map((text) => {
      const [, number, unit] = /^([\d.]+) (ms|s)$/.exec(text) ?? assert.fail(text)
      return Number(number) * (unit === 's' ? 1000 : 1)
    })
    assert.equal(times.length, 4)
    assert.ok(times[0] > 0 && times[3] >= times[2], `${times}`)
    console.log(`console: ${(await edit.locator('.steps').innerText()).replaceAll('\n', ' ')}`)
  })

  test('screenshots at both widths, light and dark', async () => {
    await mkdir(pictures, { recursive: true })
    await console_.page.locator('.facts', { hasText: '2 of 2, in sync' }).waitFor()
    for (const colorScheme of ['light', 'dark']) {
      await console_.page.emulateMedia({ colorScheme })
      await console_.page.screenshot({
        path: path.join(pictures, colorScheme === 'light' ? 'console.png' : 'console-dark.png'),
      })
    }
    const small = await Console.open(browser, url, { viewport: { width: 390, height: 844 } })
    for (const view of ['files', 'editor', 'preview', 'activity']) {
      await small.page.locator(`nav.views [data-view=${view}]`).click()
      const width = await small.page.evaluate(() => document.documentElement.scrollWidth)
      assert.ok(width <= 390, `${view} is ${width} wide`)
      await small.page.screenshot({ path: path.join(pictures, `console-390-${view}.png`) })
    }
    await small.page.close()
    await console_.page.emulateMedia({ colorScheme: 'light' })
  })

  test('two consoles edit one file: a conflict, compared, theirs taken, then mine kept', async () => {
    const other = await Console.open(browser, url)
    await other.show(HEADLINE)
    await console_.show(HEADLINE)
    await console_.saved()
    for (const [choice, wins] of [
      ['Take theirs', 'By the other'],
      ['Keep mine', 'By me'],
    ]) {
      // So that neither hears of the other before it saves.
      await post('_local/faults', { drop_broadcasts: { next: 0, probability: 1 } })
      await console_.page.route(
        '**/rpc/upsert_project_file',
        async (route) => {
          await other.type(source.replace(SHOWN, `By the other ${choice}`))
          await other.save()
          await other.saved()
          await route.continue()
        },
        { times: 1 },
      )
      await console_.type(source.replace(SHOWN, `By me ${choice}`))
      await console_.save()
      await console_.page.locator('.banner').waitFor()
      await console_.page.getByRole('button', { name: 'Compare' }).click()
      await console_.page.locator('.cm-deletedChunk', { hasText: 'By the other' }).waitFor()
      await console_.page.getByRole('button', { name: choice }).click()
      await console_.page.locator('.banner').waitFor({ state: 'hidden' })
      await console_.saved()
      await post('_local/faults', { clear: true })
      const content = source.replace(SHOWN, `${wins} ${choice}`)
      await until(`${wins} in the database`, async () => {
        const row = (await rows()).find((row) => row.file_path === HEADLINE)
        const file = await dev.rpc('get_project_file', { p_file_path: HEADLINE, p_version: row.version })
        return file.content === content
      })
      await other.content.getByText(`${wins} ${choice}`).waitFor()
    }
    await other.page.close()
  })

  test('names with spaces, quotes and emoji: created, renamed, deleted', async () => {
    const name = `src/a "quoted" 'name' 🌊.txt`
    await console_.page.getByRole('button', { name: 'New file' }).click()
    await console_.answer(name)
    await console_.type('water')
    await console_.save()
    await holds(name, 'water')
    await console_.page.getByRole('button', { name: 'Rename this file' }).click()
    await console_.answer('src/renamed <b>& 🌊.txt')
    await holds('src/renamed <b>& 🌊.txt', 'water')
    await gone(name)
    await console_.row('renamed <b>& 🌊.txt').waitFor()
    await console_.page.getByRole('button', { name: 'Delete this file' }).click()
    await console_.answer()
    await gone('src/renamed <b>& 🌊.txt')
    await console_.row('renamed <b>& 🌊.txt').waitFor({ state: 'detached' })
  })

  test('a refused name is said', async () => {
    await console_.page.getByRole('button', { name: 'New file' }).click()
    await console_.answer('../outside.txt')
    await console_.page.locator('.toast', { hasText: '../outside.txt was not created' }).waitFor()
    await console_.page.getByRole('button', { name: 'Dismiss' }).click()
  })

  test('a binary is uploaded to the byte, and opened as a card', async () => {
    const picture = Buffer.concat([await copy('src/assets/harbour.png'), Buffer.from([0, 0xff, 0xfe, 0x80])])
    await console_.page
      .locator('.files input[type=file]')
      .setInputFiles({ name: 'new harbour.png', mimeType: 'image/png', buffer: picture })
    await console_.answer('src/assets/new harbour.png')
    await holds('src/assets/new harbour.png', picture)
    await console_.page.getByText('A binary file').waitFor()
    await console_.page.locator('.picture img').waitFor()
  })

  test('a file too large for an editor is a card too', async () => {
    await writeFile(path.join(dev.folder, 'large.txt'), 'x'.repeat(1_500_000))
    await console_.row('large.txt').click()
    await console_.page.getByText('Too large for this editor').waitFor()
  })

  test('an edit during a cut arrives after it', async () => {
    await console_.show(HEADLINE)
    await console_.page.getByRole('button', { name: 'Cut the network' }).click()
    const channel = (words) => console_.page.locator('.facts div', { hasText: 'Channel' }).filter({ hasText: words })
    await until('the channel is down', async () => !(await channel('joined').count()), LONG)
    await console_.type(source.replace(SHOWN, 'Written while cut'))
    await console_.saved()
    await console_.page.getByRole('button', { name: 'Cut the network' }).click()
    await console_.preview().getByText('Written while cut').waitFor()
    await console_.page.locator('.pill', { hasText: 'in sync' }).waitFor()
    await console_.page.locator('.pill', { hasText: 'Live' }).waitFor()
  })

  test('what was dropped is noticed at the next event, and the preview has it', async () => {
    const drop = console_.page.getByRole('button', { name: 'Drop events' })
    await drop.click()
    await console_.page.getByText('Events are lost').waitFor()
    await console_.type(source.replace(SHOWN, 'Written while events were lost'))
    await console_.saved()
    await drop.click()
    await console_.page.getByText('Events are lost').waitFor({ state: 'hidden' })
    await saveElsewhere('src/later.txt', 'later')
    await console_.page.locator('.log .line', { hasText: '(gap)' }).first().waitFor()
    await console_.preview().getByText('Written while events were lost').waitFor()
    await console_.page.locator('.pill', { hasText: 'in sync' }).waitFor()
  })

  test('nothing stands in the way of eyes, screen readers and keyboards: both themes, both widths', async () => {
    await console_.show(HEADLINE)
    const small = await Console.open(browser, url, { viewport: { width: 390, height: 844 } })
    for (const colorScheme of ['light', 'dark']) {
      for (const { page } of [console_, small]) await page.emulateMedia({ colorScheme })
      assert.deepEqual(await violations(console_.page), [], `1280, ${colorScheme}`)
      for (const view of ['files', 'editor', 'preview', 'activity']) {
        await small.page.locator(`nav.views [data-view=${view}]`).click()
        assert.deepEqual(await violations(small.page), [], `390, ${view}, ${colorScheme}`)
      }
      await console_.page.getByRole('button', { name: 'New file' }).click()
      assert.deepEqual(await violations(console_.page), [], `a dialog, ${colorScheme}`)
      await console_.page.keyboard.press('Escape')
    }
    await console_.page.emulateMedia({ colorScheme: 'light' })
    await small.page.close()
  })

  test('by keyboard alone: a file made, written, saved and deleted', async () => {
    const { page } = console_
    const { keyboard } = page
    const name = 'src/by keyboard.txt'
    const focused = () =>
      page.evaluate(
        () => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '',
      )
    /** Tab until this has the focus. */
    const tabTo = async (label) => {
      for (let presses = 0; presses < 80; presses++) {
        const now = await focused()
        if (now.includes(label)) return
        // The editor keeps Tab, and lets go with Escape.
        if (now.startsWith('Content of')) await keyboard.press('Escape')
        await keyboard.press('Tab')
      }
      assert.fail(`Tab never came to ${label}`)
    }
    await page.evaluate(() => {
      document.activeElement?.blur()
      document.body.focus()
    })
    await tabTo('New file')
    await keyboard.press('Enter')
    await page.locator('dialog input').waitFor()
    await keyboard.press('ControlOrMeta+a')
    await keyboard.type(name)
    await keyboard.press('Enter')
    await page.locator('dialog').waitFor({ state: 'detached' })
    await page.locator('.editor .path', { hasText: name }).waitFor()
    await page.locator('.cm-content:focus').waitFor()
    await keyboard.type('by keyboard')
    await keyboard.press('ControlOrMeta+s')
    await holds(name, 'by keyboard')
    // Out of the editor, which keeps Tab, and on to the tree: up and down in it, and delete there.
    await keyboard.press('Escape')
    await tabTo('New file')
    await keyboard.press('Tab')
    await keyboard.press('Tab')
    await page.locator('.row:focus').waitFor()
    await keyboard.press('Home')
    for (
      let presses = 0;
      presses < 40 && !(await page.locator('.row.file:focus', { hasText: 'by keyboard.txt' }).count());
      presses++
    ) {
      await keyboard.press('ArrowDown')
    }
    await keyboard.press('Delete')
    await page.locator('dialog').waitFor()
    await tabTo('Delete')
    await keyboard.press('Enter')
    await gone(name)
    await console_.show(HEADLINE)
  })

  test('the dev server is killed and comes back', async () => {
    const server = console_.page.locator('.facts div', { hasText: 'Dev server' })
    await console_.page.getByRole('button', { name: 'Kill the dev server' }).click()
    await server.filter({ hasText: '1 restart' }).filter({ hasText: 'serving' }).waitFor()
    await console_.preview().getByText('Written while events were lost').waitFor()
  })

  test("another site's page is refused", async () => {
    const site = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<p>elsewhere</p>'))
    await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve))
    const page = await browser.newPage()
    const exits = dev.events.filter((event) => event.event_type === 'dev_server_exit').length
    try {
      await page.goto(`http://localhost:${site.address().port}/`)
      const outcome = await page.evaluate(async (base) => {
        const tried = async (act) =>
          act().then(
            () => 'answered',
            () => 'refused',
          )
        const read = await tried(() => fetch(`${base}console/session`))
        const kill = await tried(() => fetch(`${base}console/dev-server/kill`, { method: 'POST' }))
        // Goes out without a question before it: what it did is looked at below.
        await tried(() => fetch(`${base}console/dev-server/kill`, { method: 'POST', mode: 'no-cors', body: '{}' }))
        const socket = await new Promise((resolve) => {
          const socket = new WebSocket(`${base.replace('http', 'ws')}realtime/v1/websocket?vsn=1.0.0`)
          socket.onopen = () => resolve('answered')
          socket.onerror = () => resolve('refused')
        })
        return { read, kill, socket }
      }, base)
      assert.deepEqual(outcome, { read: 'refused', kill: 'refused', socket: 'refused' })
    } finally {
      await page.close()
      site.close()
    }
    assert.equal(dev.events.filter((event) => event.event_type === 'dev_server_exit').length, exits)
    // Even with the key.
    const kill = (headers) =>
      statusFor(`${base}console/dev-server/kill`, { method: 'POST', headers: { 'x-console-key': key, ...headers } })
    for (const origin of [undefined, 'null', dev.url.slice(0, -1), 'https://evil.example']) {
      assert.equal(await kill(origin && { origin }), 403, origin)
    }
    for (const host of ['evil.example', `evil.example:${new URL(base).port}`]) {
      assert.equal(await statusFor(base, { headers: { host } }), 403, host)
    }
  })

  test('left open over a restart, with something not saved', async () => {
    await console_.show(HEADLINE)
    const before = dev.started
    await dev.interrupt()
    await console_.page.locator('.pill', { hasText: 'Ended' }).waitFor()
    await console_.type(source.replace(SHOWN, 'Typed while nothing ran'))
    await console_.page.locator('.save-state', { hasText: 'Not saved' }).waitFor()
    await dev.start()
    assert.notEqual(dev.started.session_id, before.session_id)
    await console_.page.locator('.pill', { hasText: 'Live' }).waitFor()
    await console_.saved()
    await console_.preview().getByText('Typed while nothing ran').waitFor()
    assert.deepEqual(console_.complaints, [])
  })
})

/** The answer to a request with headers that `fetch` does not let one give. */
function statusFor(url, options) {
  return new Promise((resolve, reject) => {
    request(url, options, (answer) => resolve(answer.resume().statusCode))
      .on('error', reject)
      .end()
  })
}
