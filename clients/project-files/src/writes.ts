import { sha256, utf8 } from './assets.js'
import type { Database } from './database.js'
import { ProjectFilesError } from './errors.js'
import type { Wish } from './state.js'
import type { Change } from './types.js'
import type { Row } from './wire.js'

/** Of a larger bulk it is not looked up whether it took effect. */
const MOST_LOOKED_UP = 100

/** What a write function says of one path. */
export interface Written {
  path: string
  version: number
  hash: string | null
}

export function wishOf(change: Change): Wish {
  if (change.action === 'save') return { kind: 'text', content: change.content }
  if (change.action === 'asset') return { kind: 'asset', contentHash: change.contentHash, size: change.size }
  return { kind: 'removed' }
}

/** An entry of `bulk_upsert_project_files`. */
export function bulkEntry(change: Change, expected: number | null): Record<string, unknown> {
  const entry = { file_path: change.path, expected_version: expected }
  if (change.action === 'remove') return { ...entry, action: 'delete' }
  const content =
    change.action === 'save' ? { content: change.content } : { content_hash: change.contentHash, size: change.size }
  return { ...entry, action: 'update', file_type: change.fileType ?? null, ...content }
}

/** The row that a write made, from what it says and what was asked for. */
export function writtenRow(written: Written, wish: Wish | undefined, revision: number): Row {
  const { path, version, hash } = written
  const row = { path, version, revision, contentHash: hash, deleted: false }
  if (wish?.kind === 'text') {
    return { ...row, size: utf8(wish.content).byteLength, encoding: 'utf-8', content: wish.content }
  }
  if (wish?.kind === 'asset') return { ...row, size: wish.size, encoding: 'base64', content: undefined }
  return { ...row, deleted: true, contentHash: null, size: 0, encoding: 'utf-8', content: undefined }
}

/**
 * Whether a write whose answer was lost took effect before somebody else's overtook it: what it made, or null. It did where
 * the version after each one that it expected has its bytes. A deletion leaves nothing to look at, and is believed only
 * beside such a version.
 */
export async function tookEffect(
  wishes: ReadonlyMap<string, Wish>,
  expected: (path: string) => number | null,
  database: Database,
): Promise<Written[] | null> {
  if (wishes.size > MOST_LOOKED_UP) return null
  const made: Written[] = []
  for (const [path, wish] of wishes) {
    const base = expected(path)
    if (base === null) return null
    const version = base + 1
    const hash = wish.kind === 'removed' ? null : wish.kind === 'asset' ? wish.contentHash : await sha256(utf8(wish.content))
    if (hash !== null && (await hashOf(database, path, version)) !== hash) return null
    made.push({ path, version, hash })
  }
  return made.some(({ hash }) => hash !== null) ? made : null
}

async function hashOf(database: Database, path: string, version: number): Promise<string | null> {
  try {
    return (await database.file(path, version)).hash
  } catch (error) {
    if (error instanceof ProjectFilesError && error.kind === 'not_found') return null
    throw error
  }
}
