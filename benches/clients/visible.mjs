// node visible.mjs EDITS [PROJECTS]: saves a component over and over, and prints for each project how long that took to the disk
// and to the page in Chromium, in ms. PREVIEW_AGENT is the binary.
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { launch } from '../../tests/browser/chromium.mjs'
import { Dev } from '../../tests/browser/dev.mjs'
import { fixtures } from '../../tests/browser/fixtures.mjs'
import { onDisk, onPage } from '../../tests/browser/seen.mjs'

const [edits, projects = fixtures.length] = process.argv.slice(2).map(Number)
// Vite ignores a second change within 50 ms of the first, and users do not save faster.
const PAUSE_MS = 100

const now = () => performance.timeOrigin + performance.now()

async function measure(browser, fixture) {
  const dev = await Dev.prepare(fixture.name)
  try {
    await dev.start()
    const page = await browser.newPage()
    await page.goto(dev.url)
    await page.getByText(fixture.shows).first().waitFor()
    const original = await readFile(path.join(dev.folder, fixture.file), 'utf8')
    const ways = {
      'saved through the backend': (content) =>
        dev.rpc('upsert_project_file', {
          p_file_path: fixture.file,
          p_content: content,
          p_file_type: 'text',
          expected_version: null,
        }),
      'saved in the folder of `dev`': (content) => writeFile(path.join(dev.folder, fixture.file), content),
    }
    const measured = []
    for (const [way, save] of Object.entries(ways)) {
      const times = []
      for (let edit = 1; edit <= edits; edit++) {
        const text = `Edit ${edit} of ${fixture.name}, ${way}.`
        const seen = onPage(page, text)
        const written = onDisk(path.join(dev.projectDir, fixture.file), text)
        const saved = now()
        await save(original.replace(fixture.shows, text))
        times.push({ disk: (await written) - saved, page: (await seen) - saved })
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      }
      measured.push({ project: fixture.name, way, times })
    }
    await dev.interrupt()
    return measured
  } finally {
    await dev.remove()
  }
}

const browser = await launch()
try {
  const measured = []
  for (const fixture of fixtures.slice(0, projects)) measured.push(...(await measure(browser, fixture)))
  console.log(JSON.stringify(measured))
} finally {
  await browser.close()
}
