// Prints how long it takes from the commit of an edit until a problem is known, and until a good edit is `ok` and
// `rendered`, with a page open: `node problem-times.mjs [EDITS]`. It reads `GET /problems` in short intervals.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { launch } from './chromium.mjs'
import { Dev, freePort, until } from './dev.mjs'
import { median, onPage } from './seen.mjs'

const FILE = 'src/components/Headline.jsx'
const edits = Number(process.argv[2] ?? 30)

const browser = await launch()
const dev = await Dev.prepare('react-vite')
try {
  const port = await freePort()
  dev.extra = ['--status-addr', `127.0.0.1:${port}`]
  await dev.start()
  const page = await browser.newPage()
  await page.goto(dev.url)
  const good = await readFile(path.join(dev.folder, FILE), 'utf8')
  const state = async () => (await fetch(`http://127.0.0.1:${port}/problems`)).json()
  const commit = async (content) => {
    await dev.rpc('upsert_project_file', { p_file_path: FILE, p_content: content, p_file_type: 'code' })
    return performance.now()
  }
  const times = { problem: [], rendered: [], visible: [] }
  for (let at = 0; at < edits; at++) {
    const bad = good.replace('return', `throw new Error('fault ${at}')\n  return`)
    const started = await commit(bad)
    await until('the problem', async () =>
      (await state()).problems.some(({ message }) => message.includes(`fault ${at}`)),
    )
    times.problem.push(performance.now() - started)
    const shown = `Sentence ${at}.`
    const repaired = await commit(good.replace('Quiet water tonight', shown))
    const began = performance.timeOrigin + repaired
    const visible = onPage(page, shown).then((time) => times.visible.push(time - began))
    await until('the verdict', async () => {
      const { verdict, problems } = await state()
      return verdict.verdict === 'ok' && verdict.seen === 'rendered' && problems.length === 0
    })
    times.rendered.push(performance.now() - repaired)
    await visible
  }
  for (const [name, values] of Object.entries(times)) {
    console.log(
      `${name}: median ${Math.round(median(values))} ms, most ${Math.round(Math.max(...values))} ms of ${values.length}`,
    )
  }
} finally {
  await browser.close()
  await dev.remove()
}
