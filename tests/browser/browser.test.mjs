// The whole way: a file is saved in a project's folder, and the page in a real browser changes without a reload.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { launch } from './chromium.mjs'
import { Dev, freePort, listens, processesIn, run, until } from './dev.mjs'
import { fixtures } from './fixtures.mjs'
import { median, onDisk, onPage } from './seen.mjs'

const EDITS = 30

for (const fixture of fixtures) {
  describe(fixture.name, () => {
    let browser
    let dev
    let page
    const pageErrors = []

    before(async () => {
      browser = await launch()
      dev = await Dev.prepare(fixture.name)
      await dev.start()
      page = await browser.newPage()
      page.on('pageerror', (error) => pageErrors.push(String(error)))
      await page.goto(dev.url)
      await page.getByText(fixture.shows).first().waitFor()
      // A reload would remove this.
      await page.evaluate(() => (window.survived = true))
    })

    after(async () => {
      await dev?.remove()
      await browser?.close()
    })

    const file = (name) => path.join(dev.folder, name)
    const copy = (name) => path.join(dev.projectDir, name)
    const survived = () => page.evaluate(() => window.survived === true)

    test(`${EDITS} saves change the page without a reload`, async () => {
      const original = await readFile(file(fixture.file), 'utf8')
      assert.ok(original.includes(fixture.shows), `${fixture.file} holds ${fixture.shows}`)
      const disk = []
      const visible = []
      for (let edit = 1; edit <= EDITS; edit++) {
        const text = `Edit number ${edit} of ${fixture.name}.`
        const seen = onPage(page, text)
        const written = onDisk(copy(fixture.file), text)
        const content = original.replace(fixture.shows, text)
        const saved = performance.timeOrigin + performance.now()
        if (edit % 2) {
          await writeFile(file(fixture.file), content)
        } else {
          // As most editors save.
          await writeFile(file(`${fixture.file}.tmp`), content)
          await rename(file(`${fixture.file}.tmp`), file(fixture.file))
        }
        disk.push((await written) - saved)
        visible.push((await seen) - saved)
        // Users do not save faster; the next test does.
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      console.log(
        `${fixture.name}: ${EDITS} edits, save to disk ${median(disk).toFixed(1)} ms, ` +
          `save to visible ${median(visible).toFixed(1)} ms (medians)`,
      )
      assert.ok(await survived(), 'the page was reloaded')
      assert.deepEqual(pageErrors, [])
    })

    test('after two saves in quick succession the page shows the second', async () => {
      const before = await readFile(file(fixture.file), 'utf8')
      const save = (text) =>
        dev.rpc('upsert_project_file', {
          p_file_path: fixture.file,
          p_content: before.replace(/Edit number \d+ of .*?\./, text),
          p_file_type: 'text',
          expected_version: null,
        })
      // Vite's watcher overlooks a second change within 50 ms of the first.
      for (const gap of [0, 10, 20, 30, 40]) {
        const text = `Edit number 99 of two saves ${gap} ms apart.`
        const seen = onPage(page, text)
        await save(`Edit number 98 that is replaced after ${gap} ms.`)
        await new Promise((resolve) => setTimeout(resolve, gap))
        await save(text)
        await seen
      }
      assert.ok(await survived(), 'the page was reloaded')
    })

    test("another editor's save reaches the page and the developer's folder", async () => {
      const text = `Saved by another editor, in ${fixture.name}.`
      const content = (await readFile(file(fixture.file), 'utf8')).replace(/Edit number \d+ of .*?\./, text)
      const seen = onPage(page, text)
      const { version } = await dev.rpc('upsert_project_file', {
        p_file_path: fixture.file,
        p_content: content,
        p_file_type: 'text',
        expected_version: null,
      })
      await seen
      assert.ok(await survived(), 'the page was reloaded')
      await until('written back', async () => (await readFile(file(fixture.file), 'utf8')) === content)
      // The write-back is not saved again: the next save has the next version number.
      await writeFile(file(fixture.file), content.replace(text, 'And by the developer again.'))
      await onPage(page, 'And by the developer again.')
      const rows = await dev.rpc('list_project_changes', { since_revision: 0, with_content: false })
      const row = rows.files.find((row) => row.file_path === fixture.file)
      assert.equal(row.version, version + 1)
    })

    test('a changed image is copied byte for byte', async () => {
      const png = await readFile(file(fixture.image))
      // Additional bytes that are not UTF-8.
      const changed = Buffer.concat([png, Buffer.from([0x00, 0xff, 0xfe, 0x80, 0x0d, 0x0a, 0x1a])])
      await writeFile(file(fixture.image), changed)
      await until('the copy', async () => (await readFile(copy(fixture.image))).equals(changed))
      const served = await fetch(new URL(fixture.image, dev.url))
      assert.ok(Buffer.from(await served.arrayBuffer()).equals(changed), 'the dev server serves other bytes')
    })

    test('a second dev on the same port names the port and the flag', async () => {
      const { status, stderr } = await run(['dev', dev.folder, '--port', String(dev.port)])
      assert.equal(status, 69)
      assert.match(stderr, new RegExp(`^preview-agent: port ${dev.port} is in use.*--port`))
      assert.equal(stderr.trim().split('\n').length, 1, stderr)
    })

    test('Ctrl-C leaves no processes and files', async () => {
      const backendPort = Number(new URL(dev.started.backend_url).port)
      assert.ok((await listens(dev.port)) && (await listens(backendPort)))
      assert.notDeepEqual(await processesIn(dev.projectDir), [], 'the dev server works in its copy')
      const before = await readFile(file(fixture.file), 'utf8')
      assert.equal(await dev.interrupt(), 130)
      assert.deepEqual(await processesIn(dev.home), [])
      assert.deepEqual([await listens(dev.port), await listens(backendPort)], [false, false])
      assert.equal(existsSync(dev.projectDir), false, 'the scratch directory is still there')
      assert.equal(existsSync(dev.envFile), false, 'the file for editors is still there')
      assert.equal(await readFile(file(fixture.file), 'utf8'), before)
      assert.equal(existsSync(file('node_modules')), false)
    })

    test('a second start uses the packages of the first', async () => {
      // The old page would reload as soon as Vite is back, and interrupt the navigation below.
      await page.close()
      page = await browser.newPage()
      const began = performance.now()
      await dev.start()
      console.log(`${fixture.name}: the second start took ${Math.round(performance.now() - began)} ms`)
      assert.deepEqual(
        dev.events.filter((event) => event.event_type === 'deps_start'),
        [],
      )
      await page.goto(dev.url)
      await page.getByText('And by the developer again.').first().waitFor()
      assert.equal(await dev.interrupt(), 130)
    })
  })
}

test('Ctrl-C during the install leaves no processes and files', async () => {
  const dev = await Dev.prepare(fixtures[0].name)
  try {
    dev.launch()
    await dev.event('deps_start')
    assert.equal(await dev.interrupt(), 130)
    assert.deepEqual(await processesIn(dev.home), [])
    const { project_dir } = await dev.event('dev_start')
    assert.equal(existsSync(project_dir), false, 'the scratch directory is still there')
  } finally {
    await dev.remove()
  }
})

test('a missing folder is a clear error', async () => {
  const { status, stderr } = await run(['dev', '/no/such/folder', '--port', String(await freePort())])
  assert.equal(status, 64)
  assert.match(stderr, /^preview-agent: .*\/no\/such\/folder/)
})
