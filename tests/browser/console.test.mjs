// The console as users see it: in a browser, beside a running agent and its dev server.
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { violations } from './access.mjs'
import { STEP_MS } from './console.mjs'
import { ConsoleWorld, startChangedFeed, statusOf } from './console-world.mjs'
import { until } from './dev.mjs'

const HEADLINE = 'src/components/Headline.jsx'
const SHOWN = 'Quiet water tonight'
/** Where the screenshots are written; `SCREENSHOTS=docs` renews the one in the README. */
const pictures = path.resolve(import.meta.dirname, '../..', process.env.SCREENSHOTS ?? 'target/screenshots')

describe('console', () => {
  let world, dev, browser, ui, source

  before(async () => {
    world = await ConsoleWorld.start('react-vite')
    ;({ dev, browser } = world)
    source = await world.sourceOf(HEADLINE)
    ui = await world.open()
    await ui.preview().getByText(SHOWN).waitFor()
  })

  after(() => world?.stop())

  test('the console address is among the first lines of the log', () => {
    const at = dev.events.findIndex((event) => event.event_type === 'console_listening')
    assert.ok(at >= 0 && at < 4, `line ${at}`)
  })

  test('an edit is saved without a key, shown in the preview, and measured from the keystroke', async () => {
    await ui.show(HEADLINE)
    await ui.replaceText(source.replace(SHOWN, 'Typed in the console'))
    await ui.preview().getByText('Typed in the console').waitFor()
    await ui.saved()
    const edit = ui.page.locator('.edits li').first()
    for (const step of ['saved', 'sent', 'on disk', 'visible']) {
      await edit.locator('.step:not(.open)', { hasText: step }).waitFor()
    }
    const times = await stepTimes(edit)
    assert.equal(times.length, 4)
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
      'each step follows the one before it',
    )
    // The save itself waits 200 ms after the last keystroke, and the time counts from the first one.
    assert.ok(times[0] >= 200, `saved after ${times[0]} ms`)
    console.log(`console: ${(await edit.locator('.steps').innerText()).replaceAll('\n', ' ')}`)
  })

  test('the bars of all edits have one axis', async () => {
    await ui.show(HEADLINE)
    await ui.replaceText(source.replace(SHOWN, 'A second edit for the timeline'))
    await ui.preview().getByText('A second edit for the timeline').waitFor()
    await ui.page.locator('.edits li').first().locator('.step:not(.open)', { hasText: 'visible' }).waitFor()
    const edits = await ui.page.locator('.edits li').all()
    const longest = []
    for (const edit of edits) {
      const last = Math.max(...(await stepTimes(edit)))
      const dots = await edit
        .locator('.track .dot')
        .evaluateAll((all) => all.map((dot) => Number.parseFloat(dot.style.left)))
      longest.push({ last, right: Math.max(...dots) })
    }
    const scale = Math.max(...longest.map(({ last }) => last))
    for (const { last, right } of longest) {
      assert.ok(Math.abs(right - (last / scale) * 100) < 5, `${last} ms of ${scale} ms are drawn at ${right} %`)
    }
    await ui.replaceText(source.replace(SHOWN, 'Typed in the console'))
    await ui.saved()
  })

  test('screenshots at both widths, light and dark', async () => {
    await mkdir(pictures, { recursive: true })
    await ui.page.locator('.status', { hasText: ', in sync' }).waitFor()
    for (const colorScheme of ['light', 'dark']) {
      await ui.page.emulateMedia({ colorScheme })
      await ui.page.screenshot({
        path: path.join(pictures, colorScheme === 'light' ? 'console.png' : 'console-dark.png'),
      })
    }
    const small = await world.open({ viewport: { width: 390, height: 844 } })
    for (const view of ['files', 'editor', 'preview', 'activity']) {
      await small.page.locator(`nav.views [data-view=${view}]`).click()
      const width = await small.page.evaluate(() => document.documentElement.scrollWidth)
      assert.ok(width <= 390, `${view} is ${width} wide`)
      await small.page.screenshot({ path: path.join(pictures, `console-390-${view}.png`) })
    }
    await small.page.close()
    await ui.page.emulateMedia({ colorScheme: 'light' })
  })

  test('two consoles edit one file: the conflict is compared and resolved both ways', async () => {
    const other = await world.open()
    await other.show(HEADLINE)
    await ui.show(HEADLINE)
    await ui.saved()
    for (const [choice, wins] of [
      ['Take theirs', 'By the other'],
      ['Keep mine', 'By me'],
    ]) {
      // Without events neither console knows of the other's save before its own.
      await world.setFaults({ drop_broadcasts: { next: 0, probability: 1 } })
      await ui.page.route(
        '**/rpc/upsert_project_file',
        async (route) => {
          await other.replaceText(source.replace(SHOWN, `By the other ${choice}`))
          await other.save()
          await other.saved()
          await route.continue()
        },
        { times: 1 },
      )
      await ui.replaceText(source.replace(SHOWN, `By me ${choice}`))
      await ui.save()
      await ui.page.locator('.banner').waitFor()
      await ui.page.getByRole('button', { name: 'Compare' }).click()
      await ui.page.locator('.cm-deletedChunk', { hasText: 'By the other' }).waitFor()
      await ui.page.getByRole('button', { name: choice }).click()
      await ui.page.locator('.banner').waitFor({ state: 'hidden' })
      await ui.saved()
      await world.setFaults({ clear: true })
      const content = source.replace(SHOWN, `${wins} ${choice}`)
      await until(`${wins} in the database`, async () => {
        return (await world.textOf(HEADLINE)) === content
      })
      await other.content.getByText(`${wins} ${choice}`).waitFor()
    }
    await other.page.close()
  })

  test('a broken preview is shown with its file and line, and ends with the repair', async () => {
    await ui.show(HEADLINE)
    await ui.replaceText(`${source}\nconst broken = {\n`)
    const panel = ui.page.getByRole('region', { name: 'Problems' })
    const place = panel.getByRole('button', { name: new RegExp(`^${HEADLINE}:\\d+`) })
    await place.waitFor()
    await ui.page.locator('.pill.bad', { hasText: 'Preview broken' }).waitFor()
    await ui.page.locator('.editor .cm-lint-marker-error').waitFor()
    await ui.page.locator('.edits li').first().getByText('preview broken').waitFor()
    for (const colorScheme of ['light', 'dark']) {
      await ui.page.emulateMedia({ colorScheme })
      assert.deepEqual(await violations(ui.page), [], `problems, ${colorScheme}`)
    }
    await mkdir(pictures, { recursive: true })
    await ui.page.screenshot({ path: path.join(pictures, 'console-problem.png') })
    const [, line] = /:(\d+)/.exec(await place.innerText())
    await place.click()
    await ui.page.locator('.cm-activeLineGutter', { hasText: new RegExp(`^${line}$`) }).waitFor()
    await ui.show('src/App.jsx')
    await place.click()
    await ui.page.locator('.editor .path', { hasText: HEADLINE }).waitFor()
    await ui.replaceText(source.replace(SHOWN, 'Typed in the console'))
    await panel.waitFor({ state: 'hidden' })
    await ui.page.locator('.pill.ok', { hasText: 'Preview ok' }).waitFor()
    await ui.page.locator('.edits li').first().locator('.step:not(.open)', { hasText: 'visible' }).waitFor()
    await ui.preview().getByText('Typed in the console').waitFor()
  })

  test('undo takes back own changes, not those of others', async () => {
    await ui.show(HEADLINE)
    await ui.replaceText('first line\nsecond line\nthird line\n')
    await ui.saved()
    await ui.page.keyboard.press('ControlOrMeta+Home')
    await ui.page.keyboard.type('mine: ')
    await ui.saved()
    await world.saveElsewhere(HEADLINE, 'mine: first line\nsecond line\nthird line, theirs\n')
    await ui.content.getByText('third line, theirs').waitFor()
    await ui.page.keyboard.press('ControlOrMeta+z')
    const expected = 'first line\nsecond line\nthird line, theirs\n'
    await until('the undo is saved', async () => (await world.textOf(HEADLINE)) === expected, STEP_MS)
    // A change while another file is shown keeps the history too.
    await ui.show('index.html')
    await world.saveElsewhere(HEADLINE, 'first line\nsecond line, theirs\nthird line, theirs\n')
    await ui.show(HEADLINE)
    await ui.content.getByText('second line, theirs').waitFor()
    await ui.content.click()
    await ui.page.keyboard.press('ControlOrMeta+y')
    const redone = 'mine: first line\nsecond line, theirs\nthird line, theirs\n'
    await until('the redo is saved', async () => (await world.textOf(HEADLINE)) === redone, STEP_MS)
    await ui.replaceText(source)
    await ui.saved()
  })

  test('Tab moves through the page without changing a file; after a click it indents', async () => {
    await ui.show('index.html')
    const before = await world.textOf('index.html')
    const hint = ui.page.locator('.tab-hint')
    const isInEditor = () => ui.page.evaluate(() => document.activeElement?.className.includes('cm-content') ?? false)
    await ui.page.evaluate(() => {
      document.activeElement?.blur()
      document.body.focus()
    })
    let visits = 0
    for (let presses = 0; presses < 80; presses++) {
      await ui.page.keyboard.press('Tab')
      if (await isInEditor()) visits++
    }
    assert.ok(visits > 0, 'Tab reaches the editor')
    assert.equal(await hint.isVisible(), false)
    assert.equal(await world.textOf('index.html'), before)
    await ui.content.click()
    await hint.waitFor()
    await ui.page.keyboard.press('ControlOrMeta+Home')
    await ui.page.keyboard.press('Tab')
    await until('the indent is saved', async () => (await world.textOf('index.html')) === `  ${before}`, STEP_MS)
    await ui.page.keyboard.press('ControlOrMeta+z')
    await until('and undone', async () => (await world.textOf('index.html')) === before, STEP_MS)
    await ui.page.keyboard.press('Escape')
    await hint.waitFor({ state: 'hidden' })
    await ui.page.keyboard.press('Tab')
    assert.equal(await isInEditor(), false, 'Escape, then Tab leaves the editor')
  })

  test('the find panel is readable in both themes, and Escape closes it', async () => {
    await ui.show(HEADLINE)
    await ui.content.click()
    for (const colorScheme of ['light', 'dark']) {
      await ui.page.emulateMedia({ colorScheme })
      await ui.page.keyboard.press('ControlOrMeta+f')
      await ui.page.locator('.cm-search input[name=search]').waitFor()
      assert.deepEqual(await violations(ui.page), [], colorScheme)
      await ui.page.keyboard.press('Escape')
      await ui.page.locator('.cm-search').waitFor({ state: 'detached' })
    }
    await ui.page.emulateMedia({ colorScheme: 'light' })
  })

  test('the log shows the console address without its key', async () => {
    const log = ui.page.locator('.log .lines')
    await log.getByText('the console is at').first().waitFor()
    assert.ok(!(await log.innerText()).includes(world.key))
  })

  test('a new file cannot take the path of a folder, or be inside a file', async () => {
    const refusals = [
      ['src', 'src is a folder'],
      [`${HEADLINE}/x`, `${HEADLINE} is a file`],
      ['index.html', 'already a file'],
      [Array.from({ length: 65 }, () => 'a').join('/'), '65 parts; at most 64'],
    ]
    await ui.page.getByRole('button', { name: 'New file' }).click()
    for (const [name, reason] of refusals) {
      await ui.page.locator('dialog input').fill(name)
      await ui.page.locator('dialog button[type=submit]').click()
      await ui.page.locator('dialog .problem', { hasText: reason }).waitFor()
    }
    await ui.page.keyboard.press('Escape')
    await ui.page.locator('dialog').waitFor({ state: 'detached' })
  })

  test('a file with unsaved text is renamed with it', async () => {
    await ui.page.getByRole('button', { name: 'New file' }).click()
    await ui.confirmDialog('src/draft.txt')
    await ui.replaceText('draft')
    await ui.saved()
    await ui.page.keyboard.insertText(' and more')
    await ui.page.getByRole('button', { name: 'Rename this file' }).click()
    await ui.confirmDialog('src/final.txt')
    await world.holds('src/final.txt', 'draft and more')
    await world.gone('src/draft.txt')
    await ui.show('src/final.txt')
    await ui.page.getByRole('button', { name: 'Delete this file' }).click()
    await ui.confirmDialog()
    await world.gone('src/final.txt')
    await ui.show(HEADLINE)
  })

  test('files with spaces, quotes and emoji in their names are created, renamed and deleted', async () => {
    const name = `src/a "quoted" 'name' 🌊.txt`
    await ui.page.getByRole('button', { name: 'New file' }).click()
    await ui.confirmDialog(name)
    await ui.replaceText('water')
    await ui.save()
    await world.holds(name, 'water')
    await ui.page.getByRole('button', { name: 'Rename this file' }).click()
    await ui.confirmDialog('src/renamed <b>& 🌊.txt')
    await world.holds('src/renamed <b>& 🌊.txt', 'water')
    await world.gone(name)
    await ui.row('renamed <b>& 🌊.txt').waitFor()
    await ui.page.getByRole('button', { name: 'Delete this file' }).click()
    await ui.confirmDialog()
    await world.gone('src/renamed <b>& 🌊.txt')
    await ui.row('renamed <b>& 🌊.txt').waitFor({ state: 'detached' })
  })

  test('the reason of a refused name is shown', async () => {
    await ui.page.getByRole('button', { name: 'New file' }).click()
    await ui.confirmDialog('../outside.txt')
    await ui.page.locator('.toast', { hasText: '../outside.txt was not created' }).waitFor()
    await ui.page.getByRole('button', { name: 'New file' }).click()
    await ui.confirmDialog('src/allowed.txt')
    await ui.page.locator('.toast').waitFor({ state: 'hidden' })
    await ui.page.getByRole('button', { name: 'Delete this file' }).click()
    await ui.confirmDialog()
    await world.gone('src/allowed.txt')
  })

  test('a binary file is uploaded byte for byte and opened as a card', async () => {
    const picture = Buffer.concat([await world.copy('src/assets/harbour.png'), Buffer.from([0, 0xff, 0xfe, 0x80])])
    await ui.page
      .locator('.files input[type=file]')
      .setInputFiles({ name: 'new harbour.png', mimeType: 'image/png', buffer: picture })
    await ui.confirmDialog('src/assets/new harbour.png')
    await world.holds('src/assets/new harbour.png', picture)
    await ui.page.getByText('A binary file').waitFor()
    await ui.page.locator('.picture img').waitFor()
  })

  test('a file that is too large for the editor is opened as a card', async () => {
    await writeFile(path.join(dev.folder, 'large.txt'), 'x'.repeat(1_500_000))
    await ui.row('large.txt').click()
    await ui.page.getByText('Too large for this editor').waitFor()
  })

  test('an edit that is saved while the network is cut arrives afterwards', async () => {
    await ui.show(HEADLINE)
    await ui.page.getByRole('button', { name: 'Cut the network' }).click()
    const channel = (words) => ui.page.locator('.status div', { hasText: 'Live updates' }).filter({ hasText: words })
    await until('the channel is down', async () => !(await channel('joined').count()), STEP_MS)
    await ui.replaceText(source.replace(SHOWN, 'Written while cut'))
    await ui.saved()
    // The agent cannot know of the new revision, but this console has made it.
    await ui.page.locator('.pill', { hasText: /\d+ revisions? behind/ }).waitFor()
    await ui.page.getByRole('button', { name: 'Cut the network' }).click()
    await ui.preview().getByText('Written while cut').waitFor()
    await ui.page.locator('.pill', { hasText: 'in sync' }).waitFor()
    await ui.page.locator('.pill', { hasText: 'Live' }).waitFor()
  })

  test('an agent that has not seen the head for a minute is not shown as in sync', async () => {
    const feed = await startChangedFeed(world, (agent) => ({ ...agent, current: true, head_age_ms: 75_000 }))
    const page = await browser.newPage()
    // Only the feed comes from another server; the page, its key and its files are the real ones.
    await page.route(`${world.base}console/feed*`, (route) =>
      route.continue({ url: `${feed.url}${new URL(route.request().url()).search}` }),
    )
    await page.goto(world.url)
    await page.locator('.pill', { hasText: /unknown, checked 1 min 1\d s ago/ }).waitFor({ timeout: STEP_MS })
    await page.locator('.status', { hasText: 'unknown, checked 1 min' }).waitFor()
    assert.equal(await page.locator('.pill', { hasText: 'in sync' }).count(), 0)
    await page.close()
    feed.close()
  })

  test('a dropped event is noticed at the next one, and the preview shows its edit', async () => {
    const drop = ui.page.getByRole('button', { name: 'Drop events' })
    await drop.click()
    await ui.page.getByText('Events are lost').waitFor()
    await ui.replaceText(source.replace(SHOWN, 'Written while events were lost'))
    await ui.saved()
    await drop.click()
    await ui.page.getByText('Events are lost').waitFor({ state: 'hidden' })
    await world.saveElsewhere('src/later.txt', 'later')
    await ui.page.locator('.log .line', { hasText: '(gap)' }).first().waitFor()
    await ui.preview().getByText('Written while events were lost').waitFor()
    await ui.page.locator('.pill', { hasText: 'in sync' }).waitFor()
  })

  test('no accessibility violations in both themes and at both widths', async () => {
    await ui.show(HEADLINE)
    const small = await world.open({ viewport: { width: 390, height: 844 } })
    for (const colorScheme of ['light', 'dark']) {
      for (const { page } of [ui, small]) await page.emulateMedia({ colorScheme })
      assert.deepEqual(await violations(ui.page), [], `1280, ${colorScheme}`)
      for (const view of ['files', 'editor', 'preview', 'activity']) {
        await small.page.locator(`nav.views [data-view=${view}]`).click()
        assert.deepEqual(await violations(small.page), [], `390, ${view}, ${colorScheme}`)
      }
      await ui.page.getByRole('button', { name: 'New file' }).click()
      assert.deepEqual(await violations(ui.page), [], `a dialog, ${colorScheme}`)
      await ui.page.keyboard.press('Escape')
    }
    await ui.page.emulateMedia({ colorScheme: 'light' })
    await small.page.close()
  })

  test('a file is created, written, saved and deleted by keyboard alone', async () => {
    const { page } = ui
    const { keyboard } = page
    const name = 'src/by keyboard.txt'
    const focused = () =>
      page.evaluate(
        () => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '',
      )
    /** Presses Tab until the control with this label has the focus. */
    const tabTo = async (label) => {
      for (let presses = 0; presses < 80; presses++) {
        const now = await focused()
        if (now.includes(label)) return
        await keyboard.press('Tab')
      }
      assert.fail(`Tab does not reach ${label}`)
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
    await world.holds(name, 'by keyboard')
    // After typing, Tab indents until Escape is pressed. Then on to the tree, and delete there.
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
    await world.gone(name)
    await ui.show(HEADLINE)
  })

  test('the dev server is started again after it was killed', async () => {
    const server = ui.page.locator('.status div', { hasText: 'Dev server' })
    await ui.page.getByRole('button', { name: 'Kill the dev server' }).click()
    await server.filter({ hasText: '1 restart' }).filter({ hasText: 'serving' }).waitFor()
    await ui.preview().getByText('Written while events were lost').waitFor()
  })

  test("requests from another site's page are refused", async () => {
    const site = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<p>elsewhere</p>'))
    await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve))
    const page = await browser.newPage()
    const exits = dev.events.filter((event) => event.event_type === 'dev_server_exit').length
    try {
      await page.goto(`http://localhost:${site.address().port}/`)
      const outcome = await page.evaluate(async (base) => {
        const outcomeOf = async (act) =>
          act().then(
            () => 'answered',
            () => 'refused',
          )
        const read = await outcomeOf(() => fetch(`${base}console/session`))
        const kill = await outcomeOf(() => fetch(`${base}console/dev-server/kill`, { method: 'POST' }))
        // Sent without a preflight request: its effect is checked below.
        await outcomeOf(() => fetch(`${base}console/dev-server/kill`, { method: 'POST', mode: 'no-cors', body: '{}' }))
        const socket = await new Promise((resolve) => {
          const socket = new WebSocket(`${base.replace('http', 'ws')}realtime/v1/websocket?vsn=1.0.0`)
          socket.onopen = () => resolve('answered')
          socket.onerror = () => resolve('refused')
        })
        return { read, kill, socket }
      }, world.base)
      assert.deepEqual(outcome, { read: 'refused', kill: 'refused', socket: 'refused' })
    } finally {
      await page.close()
      site.close()
    }
    assert.equal(dev.events.filter((event) => event.event_type === 'dev_server_exit').length, exits)
    // Also with the key.
    const kill = (headers) =>
      statusOf(`${world.base}console/dev-server/kill`, {
        method: 'POST',
        headers: { 'x-console-key': world.key, ...headers },
      })
    for (const origin of [undefined, 'null', dev.url.slice(0, -1), 'https://evil.example']) {
      assert.equal(await kill(origin && { origin }), 403, origin)
    }
    for (const host of ['evil.example', `evil.example:${new URL(world.base).port}`]) {
      assert.equal(await statusOf(world.base, { headers: { host } }), 403, host)
    }
  })

  test('unsaved text survives a restart of the program while the console stays open', async () => {
    await ui.show(HEADLINE)
    const before = dev.started
    await dev.interrupt()
    await ui.page.locator('.pill', { hasText: 'Ended' }).waitFor()
    await ui.replaceText(source.replace(SHOWN, 'Typed while nothing ran'))
    await ui.page.locator('.save-state', { hasText: 'Not saved' }).waitFor()
    await dev.start()
    assert.notEqual(dev.started.session_id, before.session_id)
    await ui.page.locator('.pill', { hasText: 'Live' }).waitFor()
    await ui.saved()
    await ui.preview().getByText('Typed while nothing ran').waitFor()
    assert.deepEqual(ui.pageErrors, [])
  })
})

/** Milliseconds of each step of an edit in the timeline. */
async function stepTimes(edit) {
  const texts = await edit.locator('.step b').allInnerTexts()
  return texts.map((text) => {
    const [, number, unit] = /^([\d.]+) (ms|s)$/.exec(text) ?? assert.fail(text)
    return Number(number) * (unit === 's' ? 1000 : 1)
  })
}
