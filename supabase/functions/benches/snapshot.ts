// The cost of building a snapshot, compared with JSZip in the same Deno: CPU time and peak memory, each run in a separate
// process, against a fake database and storage in another. `deno run -A benches/snapshot.ts`
// prints the table, and the largest project that fits a function; `RUNS`, `SIZES` and `LARGEST` (megabytes) change it.
import process from 'node:process'
import JSZip from 'npm:jszip@3.10.2'
import { Database } from '../_shared/database.ts'
import { projectDigest, sha256 } from '../_shared/digest.ts'
import { Refusal } from '../_shared/refusal.ts'
import { readSettings } from '../_shared/settings.ts'
import { snapshotOf } from '../_shared/snapshot.ts'
import { Storage } from '../_shared/storage.ts'

/** The hosted limits of a function. */
const CPU_MS = 2_000
const MEMORY_MB = 256
/** Characters of a generated file, and bytes of a page, as the database cuts them. */
const FILE = 25_000
const PAGE = 1 << 20

type ContentKind = 'text' | 'images'
type Builder = 'ours' | 'jszip-1' | 'jszip-6'

interface Measured {
  cpu_ms: number
  peak_mb: number
  idle_mb: number
  zip_mb: number
  refused: string | null
}

const [role = 'table', ...rest] = Deno.args
if (role === 'serve') serve()
else if (role === 'build') await build(rest[0] as Builder, rest[1] as ContentKind, Number(rest[2]), rest[3]!)
else await table()

async function table(): Promise<void> {
  const runs = Number(Deno.env.get('RUNS') ?? 5)
  const sizes = numbers('SIZES', '1,5,20,50')
  const server = run(['serve']).spawn()
  const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader()
  const url = (await reader.read()).value!.trim()
  const measure = async (builder: Builder, kind: ContentKind, size: number, times = runs) => {
    const all: Measured[] = []
    for (let at = 0; at < times; at++) {
      const { stdout, success } = await run(['build', builder, kind, `${size}`, url]).output()
      if (!success) throw new Error(`${builder} of ${size} MB failed`)
      all.push(JSON.parse(new TextDecoder().decode(stdout)))
    }
    const middle = (of: (one: Measured) => number) => all.map(of).sort((a, b) => a - b)[all.length >> 1]!
    const [cpu_ms, peak_mb] = [middle((one) => one.cpu_ms), middle((one) => one.peak_mb)]
    return { ...all[0]!, cpu_ms, peak_mb }
  }
  try {
    console.log(`medians of ${runs} runs; Deno ${Deno.version.deno}; a file has ${FILE / 1000} KB, an image 500 KB`)
    console.log('| project | builder | CPU ms | peak MB | zip MB | CPU to ours | peak to ours |')
    console.log('| --- | --- | --- | --- | --- | --- | --- |')
    for (const kind of ['text', 'images'] as const) {
      for (const size of kind === 'text' ? sizes : sizes.filter((size) => size >= 20 && size < 50)) {
        const ours = await measure('ours', kind, size)
        row(`${size} MB of ${kind}`, 'this', ours, ours)
        for (const level of [1, 6] as const) {
          row('', `JSZip, level ${level}`, await measure(`jszip-${level}`, kind, size), ours)
        }
      }
    }
    const largest = numbers('LARGEST', '25,50,75,100,125,150')
    for (const builder of ['ours', 'jszip-1', 'jszip-6'] as const) {
      let fits = 'none'
      for (const size of largest) {
        const one = await measure(builder, 'text', size, 3)
        const stops = one.refused ?? (one.cpu_ms > CPU_MS ? 'CPU' : one.peak_mb > MEMORY_MB ? 'memory' : null)
        const shown = `${one.cpu_ms.toFixed(0)} ms, ${one.peak_mb.toFixed(0)} MB, zip ${one.zip_mb.toFixed(0)} MB`
        if (stops) {
          console.log(`${builder}: fits ${fits}; ${size} MB does not: ${stops} (${shown})`)
          break
        }
        fits = `${size} MB of text in ${Math.round((size * 1e6) / FILE)} files (${shown})`
        if (size === largest.at(-1)) console.log(`${builder}: fits ${fits}`)
      }
    }
  } finally {
    server.kill()
  }
}

function numbers(name: string, usual: string): number[] {
  return (Deno.env.get(name) ?? usual).split(',').map(Number)
}

function row(project: string, builder: string, one: Measured, ours: Measured): void {
  const times = (of: (one: Measured) => number) => (of(one) / of(ours)).toFixed(1)
  const cells = [project, builder, one.cpu_ms.toFixed(0), one.peak_mb.toFixed(0), one.zip_mb.toFixed(1)]
  console.log(`| ${[...cells, times((one) => one.cpu_ms), times((one) => one.peak_mb)].join(' | ')} |`)
}

function run(args: string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ['run', '--allow-all', new URL(import.meta.url).pathname, ...args],
    stdin: 'null',
    stdout: 'piped',
    stderr: 'inherit',
  })
}

async function build(builder: Builder, kind: ContentKind, size: number, url: string): Promise<void> {
  const all: Record<string, string> = { SUPABASE_URL: url, SUPABASE_ANON_KEY: 'x', PREVIEW_JWT_SECRET: 'x' }
  const settings = readSettings((name) => ({ ...all, SUPABASE_SERVICE_ROLE_KEY: 'x' })[name])
  const [database, storage] = [new Database(settings), new Storage(settings)]
  const project = `${kind}-${size}`
  const [before, idle] = [process.cpuUsage(), peak()]
  let [zip, refused]: [number, string | null] = [0, null]
  try {
    if (builder === 'ours') zip = (await snapshotOf(database, storage, project, 60)).bytes!
    else zip = await withJszip(database, storage, project, builder === 'jszip-1' ? 1 : 6)
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    refused = error.code
  }
  const used = process.cpuUsage(before)
  const cpu_ms = (used.user + used.system) / 1000
  const measured: Measured = { cpu_ms, peak_mb: peak(), idle_mb: idle, zip_mb: zip / 1e6, refused }
  console.log(JSON.stringify(measured))
  Deno.exit(0)
}

/** The usual code of a function that makes a zip. */
async function withJszip(database: Database, storage: Storage, project: string, level: number): Promise<number> {
  const zip = new JSZip()
  for (let since = 0; ; ) {
    // biome-ignore lint/suspicious/noExplicitAny: as usual code does
    const page: any = await database.call('list_project_changes', { project_uuid: project, since_revision: since })
    for (const file of page.files) {
      if (file.content !== null) zip.file(file.file_path, file.content)
      else {
        zip.file(
          file.file_path,
          (await storage.download('project-assets', `${project}/${file.content_hash}`, file.size))!,
        )
      }
    }
    since = page.files.at(-1).revision
    if (page.complete) break
  }
  const bytes = await zip.generateAsync({ type: 'uint8array', compression: 'DEFLATE', compressionOptions: { level } })
  await storage.upload('project-snapshots', `${project}/x.zip`, () => [bytes], 'application/zip')
  await storage.sign('project-snapshots', `${project}/x.zip`, 60)
  return bytes.length
}

/** The peak memory of this process, in MB. */
function peak(): number {
  const line = Deno.readTextFileSync('/proc/self/status').match(/VmHWM:\s+(\d+) kB/)
  return Number(line![1]) / 1024
}

/** The parts of database and storage that the build uses. Projects are made at their first request. */
function serve(): void {
  const made = new Map<string, { pages: Map<number, string>; digest: string; head: number }>()
  const image = (name: string) => {
    const bytes = new Uint8Array(500_000)
    let seed = [...name].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) | 0, 7)
    for (let at = 0; at < bytes.length; at++) {
      seed = (Math.imul(seed, 1664525) + 1013904223) | 0
      bytes[at] = seed >>> 24
    }
    return bytes
  }
  const project = (name: string) => {
    const one = made.get(name) ?? generate(name, image)
    made.set(name, one)
    return one
  }
  const server = Deno.serve({ hostname: '127.0.0.1', port: 0, onListen: () => {} }, async (request) => {
    const path = new URL(request.url).pathname
    const last = path.slice(path.lastIndexOf('/') + 1)
    if (path.includes('/object/authenticated/')) return new Response(image(images.get(last)!))
    if (path.includes('/object/list/')) return Response.json([])
    if (path.includes('/object/sign/')) return Response.json({ signedURL: '/x' })
    if (!path.includes('/rpc/')) {
      for await (const _ of request.body ?? []);
      return Response.json({})
    }
    const args = await request.json()
    const { pages, digest, head } = project(args.project_uuid)
    if (last === 'project_head') return Response.json({ head_revision: head, digest })
    return new Response(pages.get(args.since_revision), { headers: { 'content-type': 'application/json' } })
  })
  console.log(`http://127.0.0.1:${server.addr.port}`)
}

const images = new Map<string, string>()

function generate(name: string, image: (name: string) => Uint8Array) {
  const [kind, size] = name.split('-') as [ContentKind, string]
  const each = kind === 'text' ? FILE : 500_000
  const count = Math.round((Number(size) * 1e6) / each)
  const files = Array.from({ length: count }, (_, at) => {
    const file_path = `src/part${at % 40}/${kind}${at}.${kind === 'text' ? 'tsx' : 'png'}`
    const content = kind === 'text' ? source(at) : null
    const hash = sha256(content ?? image(file_path))
    if (content === null) images.set(hash, file_path)
    return { file_path, version: 1, content_hash: hash, size: each, encoding: 'utf-8', content, is_deleted: false }
  })
  const pages = new Map<number, string>()
  const digest = projectDigest(files)
  for (let from = 0; from < count; ) {
    const page = []
    let bytes = 0
    let to = from
    for (; to < count && bytes < PAGE; to++) {
      page.push({ ...files[to]!, revision: to + 1, content_omitted: false })
      bytes += kind === 'text' ? each : 2_000
    }
    pages.set(from, JSON.stringify({ head_revision: count, digest, complete: to === count, files: page }))
    from = to
  }
  return { pages, digest, head: count }
}

/** A text like source code: lines with some hundred different words and names with numbers. */
function source(at: number): string {
  let seed = (at * 2654435761) | 0
  const next = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0
    return (seed >>> 8) % below
  }
  const words =
    'const return import export function props state value index render className style width items map key'.split(' ')
  let text = ''
  while (text.length < FILE) {
    const name = `${words[next(words.length)]}${next(3000).toString(36)}`
    text += `${' '.repeat(2 * next(4))}${words[next(words.length)]} ${name} = ${words[next(words.length)]}(${name}.${
      words[next(words.length)]
    }, ${next(1e6)})\n`
  }
  return text.slice(0, FILE)
}
