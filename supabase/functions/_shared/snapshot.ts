import type { Database } from './database.ts'
import { byBytes, projectDigest, sha256, snapshotId } from './digest.ts'
import { messageOf } from './http.ts'
import { Refusal, unavailable } from './refusal.ts'
import type { Storage } from './storage.ts'
import { END_SIZE, type Entry, entry, entrySize, MAX_ENTRIES, zipPieces } from './zip.ts'

const BUCKET = 'project-snapshots'
const ASSETS = 'project-assets'
const MANIFEST = '.preview/manifest.json'
/** The largest snapshot in bytes, compressed (contract, section 2). */
export const MAX_SNAPSHOT = 50 << 20
/** Rows of a page; a page ends earlier, past 1 MB of content. */
const PAGE_ROWS = 500
/** How often the state is read where its digest does not match, because something was written between two pages. */
const MAX_READS = 3
/** So many of a project's newest snapshots are kept, and all younger than this, since their URLs may still be used. */
const KEPT_COUNT = 3
const KEPT_AGE_MS = 3_600_000

interface Change {
  file_path: string
  version: number
  content_hash: string | null
  size: number | null
  encoding: string | null
  content: string | null
  content_omitted?: boolean
  revision: number
  is_deleted: boolean
}

interface Page {
  head_revision: number
  digest: string
  complete: boolean
  files: Change[]
}

interface Packed {
  file_path: string
  version: number
  content_hash: string
  size: number
  entry: Entry
}

interface State {
  revision: number
  digest: string
  files: Map<string, Packed>
}

/** A snapshot that can be downloaded. */
export interface Snapshot {
  object: string
  revision: number
  url: string
  /** Whether this call has made it. */
  built: boolean
  bytes?: number
}

/**
 * Returns the snapshot of the project's head, with a URL signed for `urlSeconds`. An existing snapshot of this state is
 * used, unless `rebuild` is set. The object's name contains revision and digest, so that two builders of the same state make
 * one object, and revisions of a restored backup are not confused with others.
 */
export async function snapshotOf(
  database: Database,
  storage: Storage,
  projectId: string,
  urlSeconds: number,
  rebuild = false,
): Promise<Snapshot> {
  if (!rebuild) {
    const head = await database.call<{ head_revision: number; digest: string }>('project_head', {
      project_uuid: projectId,
    })
    const prefix = objectPrefix(head.head_revision, head.digest)
    const existing = (await storage.list(BUCKET, projectId)).find((stored) => stored.name.startsWith(prefix))
    if (existing) {
      const object = `${projectId}/${existing.name}`
      const url = await storage.sign(BUCKET, object, urlSeconds)
      if (url) return { object, revision: head.head_revision, url, built: false }
    }
  }
  const state = await readState(database, storage, projectId)
  const { entries, bytes } = pack(state, projectId)
  const suffix = rebuild ? `-${crypto.randomUUID().slice(0, 8)}` : ''
  const object = `${projectId}/${objectPrefix(state.revision, state.digest)}${suffix}.zip`
  // An object of that name that another builder has made meanwhile has the same files.
  await storage.upload(BUCKET, object, () => zipPieces(entries), 'application/zip')
  const url = await storage.sign(BUCKET, object, urlSeconds)
  if (!url) throw unavailable('storage', new Error(`${object} was uploaded, but cannot be found`))
  await prune(storage, projectId)
  return { object, revision: state.revision, url, built: true, bytes }
}

function objectPrefix(revision: number, digest: string): string {
  return `${revision}-${digest.slice(0, 32)}`
}

/** Reads one consistent state: all pages, where their digest equals the one in the last page. */
async function readState(database: Database, storage: Storage, projectId: string): Promise<State> {
  for (let attempt = 1; attempt <= MAX_READS; attempt++) {
    const state = await readPages(database, storage, projectId)
    if (state && projectDigest(state.files.values()) === state.digest) return state
  }
  throw unavailable('the database', new Error('the project changes faster than it can be read, or its digest is wrong'))
}

async function readPages(database: Database, storage: Storage, projectId: string): Promise<State | null> {
  const files = new Map<string, Packed>()
  let since = 0
  let total = END_SIZE
  for (;;) {
    const page = await database.call<Page>('list_project_changes', {
      project_uuid: projectId,
      since_revision: since,
      max_rows: PAGE_ROWS,
      with_content: true,
    })
    for (const change of page.files) {
      const before = files.get(change.file_path)
      if (before) total -= entrySize(before.entry)
      files.delete(change.file_path)
      if (change.is_deleted) continue
      const bytes = await bytesOf(database, storage, projectId, change)
      if (!bytes) return null
      const content_hash = change.content_hash ?? ''
      // Compressed at once, so that at most one page of contents is in memory uncompressed.
      const packed = {
        file_path: change.file_path,
        version: change.version,
        content_hash,
        size: bytes.length,
        entry: entry(change.file_path, bytes),
      }
      files.set(change.file_path, packed)
      total += entrySize(packed.entry)
      if (total > MAX_SNAPSHOT || files.size >= MAX_ENTRIES) throw tooLarge(files, total)
    }
    if (page.complete) return { revision: page.head_revision, digest: page.digest, files }
    const last = page.files.at(-1)?.revision
    if (last === undefined || last <= since) {
      throw unavailable('the database', new Error('a page of changes without progress'))
    }
    since = last
  }
}

/** The file's bytes; null where that version is not kept any more, because the state has changed. */
async function bytesOf(
  database: Database,
  storage: Storage,
  projectId: string,
  change: Change,
): Promise<Uint8Array | null> {
  let { content, encoding } = change
  if (content === null && change.content_omitted) {
    try {
      const args = { project_uuid: projectId, p_file_path: change.file_path, p_version: change.version }
      ;({ content, encoding } = await database.call<{ content: string | null; encoding: string }>(
        'get_project_file',
        args,
      ))
    } catch (error) {
      if (error instanceof Refusal && error.code === 'PT404') return null
      throw error
    }
  }
  if (content !== null) {
    return encoding === 'base64'
      ? Uint8Array.from(atob(content.replaceAll('\n', '')), (c) => c.charCodeAt(0))
      : new TextEncoder().encode(content)
  }
  const bytes = await storage.download(ASSETS, `${projectId}/${change.content_hash}`, change.size ?? 0)
  if (!bytes || sha256(bytes) !== change.content_hash) {
    // Texts were hashed by the database; uploaded objects have to be checked here.
    throw new Refusal(
      422,
      'asset_missing',
      `the content of ${change.file_path} is not in storage as it was registered`,
      {
        file_path: change.file_path,
      },
    )
  }
  return bytes
}

function tooLarge(files: Map<string, Packed>, total: number): Refusal {
  const largest = [...files.values()]
    .sort((a, b) => b.entry.data.length - a.entry.data.length)
    .slice(0, 5)
    .map((file) => ({ file_path: file.file_path, size: file.size, compressed: file.entry.data.length }))
  const named = largest.map((file) => `${file.file_path} (${file.compressed} bytes)`).join(', ')
  return new Refusal(
    413,
    'snapshot_too_large',
    `the snapshot is larger than ${MAX_SNAPSHOT} bytes; the largest files so far: ${named}`,
    {
      limit: MAX_SNAPSHOT,
      at_least: total,
      largest,
    },
  )
}

/** Orders the entries: the manifest, what the package manager and the dev server need first, then the rest. */
function pack(state: State, projectId: string): { entries: Entry[]; bytes: number } {
  const sorted = [...state.files.values()].sort((a, b) => byBytes(a.entry.name, b.entry.name))
  const files = sorted.map(({ file_path, version, content_hash, size }) => ({
    file_path,
    version,
    content_hash,
    size,
  }))
  const manifest = {
    format: 1,
    project_id: projectId,
    snapshot_id: snapshotId(files),
    revision: state.revision,
    created_at: new Date().toISOString(),
    files,
  }
  const ranked = sorted.toSorted((a, b) => rank(a.file_path) - rank(b.file_path))
  const entries = [
    entry(MANIFEST, new TextEncoder().encode(JSON.stringify(manifest))),
    ...ranked.map((file) => file.entry),
  ]
  const bytes = entries.reduce((sum, made) => sum + entrySize(made), END_SIZE)
  if (bytes > MAX_SNAPSHOT) throw tooLarge(state.files, bytes)
  return { entries, bytes }
}

const LOCK_FILES = new Set([
  'package-lock.json',
  'npm-shrinkwrap.json',
  'pnpm-lock.yaml',
  'pnpm-workspace.yaml',
  'yarn.lock',
  'bun.lock',
  'bun.lockb',
  '.npmrc',
  '.yarnrc',
  '.yarnrc.yml',
  'bunfig.toml',
  '.pnpmfile.cjs',
])

function rank(path: string): number {
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (name === 'package.json') return 0
  if (LOCK_FILES.has(name)) return 1
  if (name.startsWith('vite.config.')) return 2
  return name === 'index.html' ? 3 : 4
}

/** Removes old snapshots. A failure does not affect the new one; the next build tries again. */
async function prune(storage: Storage, projectId: string): Promise<void> {
  try {
    const cutoff = Date.now() - KEPT_AGE_MS
    const old = (await storage.list(BUCKET, projectId))
      .slice(KEPT_COUNT)
      .filter((stored) => stored.created_at === null || Date.parse(stored.created_at) < cutoff)
    await storage.remove(
      BUCKET,
      old.map((stored) => `${projectId}/${stored.name}`),
    )
  } catch (error) {
    console.warn('cannot remove old snapshots yet:', messageOf(error))
  }
}
