// Prints how long it takes from the commit of an edit until a problem is known, and until a good edit is `ok` and
// `rendered`, with a page open: `node problem-times.mjs [EDITS]`. With VISIBLE_ONLY=1, only until the edit is visible, for
// an older binary in PREVIEW_AGENT. It reads `GET /problems` in short intervals.
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
    if (!process.env.VISIBLE_ONLY) {
      const started = await commit(good.replace('return', `throw new Error('fault ${at}')\n  return`))
      const isThere = ({ problems }) => problems.some(({ message }) => message.includes(`fault ${at}`))
      await until('the problem', async () => isThere(await state()))
      times.problem.push(performance.now() - started)
    }
    const shown = `Sentence ${at}.`
    const visible = onPage(page, shown)
    const started = await commit(good.replace('Quiet water tonight', shown))
    if (!process.env.VISIBLE_ONLY) {
      const isGood = ({ verdict, problems }) => verdict.seen === 'rendered' && problems.length === 0
      await until('the verdict', async () => isGood(await state()))
      times.rendered.push(performance.now() - started)
    }
    times.visible.push((await visible) - performance.timeOrigin - started)
  }
  for (const [name, values] of Object.entries(times)) {
    if (!values.length) continue
    console.log(
      `${name}: median ${Math.round(median(values))} ms, most ${Math.round(Math.max(...values))} ms of ${values.length}`,
    )
  }
} finally {
  await browser.close()
  await dev.remove()
}
