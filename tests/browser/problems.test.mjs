// What goes wrong in a page: it is a problem at `GET /problems` with the file and line of the source, and ends when it is
// repaired.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import path from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { launch } from './chromium.mjs'
import { Dev, freePort, until } from './dev.mjs'

const FILE = 'src/components/Headline.jsx'
const FLOOD = 10_000

/** A component whose first lines are shorter than what is served, so that a position that is not followed back differs. */
const component = (body, shown = '<h1>Headline</h1>') => `import { useEffect } from 'react'

/** A comment
 * of some lines.
 */
export default function Headline() {
  useEffect(() => {}, [])
${body}
  return ${shown}
}
`

/** Those with `long` are tried with PROBLEMS=all only. The line with `fault` in its text is the one that is reported. */
const CASES = [
  { name: 'an error at the first render', kind: 'runtime', body: "  throw new Error('fault at render')" },
  {
    name: 'an error in an effect',
    long: true,
    kind: 'runtime',
    body: "  useEffect(() => {\n    throw new Error('fault in effect')\n  })",
  },
  {
    name: 'an error in an event handler',
    long: true,
    kind: 'runtime',
    body: "  const click = () => {\n    throw new Error('fault in handler')\n  }",
    shown: '<button onClick={click}>press</button>',
    act: (page) => page.getByText('press').click(),
  },
  {
    name: 'an unhandled rejection',
    kind: 'runtime',
    body: "  useEffect(() => {\n    const load = async () => {\n      throw new Error('fault in promise')\n    }\n    load()\n  })",
  },
  {
    name: 'console.error',
    long: true,
    kind: 'console',
    body: "  useEffect(() => {\n    console.error('fault in %s', 'console')\n  })",
  },
  {
    name: 'an image that cannot be loaded',
    long: true,
    kind: 'resource',
    body: '',
    shown: '<img src="/fault.png" alt="" />',
    withoutPlace: true,
  },
  {
    name: 'an error in a worker',
    kind: 'runtime',
    file: 'src/components/worker.js',
    body: "  useEffect(() => {\n    new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })\n  }, [])",
    worker: "const text = 'worker'\n\nthrow new Error('fault in ' + text)\n",
  },
  { name: 'a syntax error', long: true, kind: 'build', body: '  const fault = [}' },
]

describe('problems of pages', () => {
  let browser, dev, page, status, good, editor

  const state = async () => (await fetch(`${status}/problems`)).json()
  const write = (text) => writeFile(path.join(dev.folder, FILE), text)
  const describeState = async () => JSON.stringify(await state(), null, 1)
  const waitFor = async (what, look) => {
    await until(what, async () => look(await state())).catch(async (error) => {
      throw new Error(`${error.message}: ${await describeState()}`)
    })
  }

  before(async () => {
    browser = await launch()
    dev = await Dev.prepare('react-vite')
    const port = await freePort()
    status = `http://127.0.0.1:${port}`
    editor = createServer((_, response) => {
      response.setHeader('content-type', 'text/html')
      response.end(`<!doctype html><script>
        const got = []
        addEventListener('message', ({ data, origin }) => got.push({ ...data, origin }))
      </script><iframe src="${dev.url}" width="600" height="400"></iframe>`)
    })
    const editorPort = await freePort()
    await new Promise((resolve) => editor.listen(editorPort, resolve))
    dev.environment = { PREVIEW_FRAME_ANCESTORS: `http://localhost:${editorPort} http://localhost:${dev.port}` }
    dev.extra = ['--status-addr', `127.0.0.1:${port}`]
    good = await readFile(path.join(dev.folder, FILE), 'utf8')
    await dev.start()
  })

  after(async () => {
    await browser?.close()
    editor?.close()
    await dev?.remove()
  })

  beforeEach(async () => {
    await page?.close()
    await write(good)
    page = await browser.newPage()
    await page.goto(dev.url)
    await page.getByText('Quiet water tonight').first().waitFor()
  })

  const tried = CASES.filter(({ long }) => !long || process.env.PROBLEMS === 'all')
  for (const { name, kind, body, shown, act, worker, withoutPlace, file = FILE } of tried) {
    test(name, async () => {
      if (worker) await writeFile(path.join(dev.folder, file), worker)
      const text = component(body, shown)
      await write(text)
      if (act) {
        await page.getByText('press').waitFor()
        await act(page)
      }
      const found = ({ problems }) =>
        problems.find((problem) => problem.kind === kind && /fault/.test(JSON.stringify(problem)))
      await waitFor(`the problem of ${name}`, found)
      const problem = found(await state())
      if (!withoutPlace) {
        const lines = (worker ?? text).split('\n')
        const line = 1 + lines.findIndex((line) => /\bfault\b/.test(line))
        assert.deepEqual([problem.file_path, problem.line], [file, line], JSON.stringify(problem))
      }
      if (kind !== 'build') assert.equal(problem.page, '/')
      await write(good)
      await waitFor('its end', ({ problems, verdict }) => problems.length === 0 && verdict?.verdict === 'ok')
    })
  }

  test('a page in a frame posts problems and verdicts to its parent', async () => {
    const outer = await browser.newPage()
    await outer.goto(`http://localhost:${editor.address().port}/`)
    await outer.frameLocator('iframe').getByText('Quiet water tonight').first().waitFor()
    const got = (look) => until('the messages', async () => (await outer.evaluate('got')).find(look))
    await write(component("  throw new Error('fault at render')"))
    const { problem, origin } = await got(({ source, type }) => source === 'preview-agent' && type === 'problem')
    assert.deepEqual([problem.kind, problem.file_path, origin], ['runtime', FILE, new URL(dev.url).origin])
    await write(good)
    await got(({ type, id }) => type === 'resolved' && id === problem.id)
    await got(({ type, verdict, seen }) => type === 'verdict' && verdict === 'ok' && seen === 'rendered')
    await outer.close()
  })

  test('ten thousand errors in a second are counted, and the preview goes on', async () => {
    const { omitted } = await state()
    const port = new URL(status).port
    const memory = async () => {
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
      return Number(/^process_resident_memory_bytes (\S+)/m.exec(metrics)?.[1])
    }
    const memoryBefore = await memory()
    await page.evaluate(async (count) => {
      for (let at = 0; at < count; at++) {
        console.error(`flood ${at % 200}`)
        if (at % 1000 === 999) await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }, FLOOD)
    await waitFor('the right count', ({ problems, omitted: now }) => {
      return problems.reduce((sum, problem) => sum + problem.count, now - omitted) === FLOOD
    })
    await write(good.replace('Quiet water tonight', 'Loud water tonight'))
    await page.getByText('Loud water tonight').first().waitFor()
    const grown = (await memory()) - memoryBefore
    assert.ok(grown < 30 << 20, `${grown} bytes more`)
    await write(good)
    await waitFor('the end of all problems', ({ problems }) => problems.length === 0)
  })
})
