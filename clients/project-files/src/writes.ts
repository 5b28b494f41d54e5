import { sha256, utf8 } from './assets.js'
import type { Database } from './database.js'
import { ProjectFilesError } from './errors.js'
import type { Wish } from './state.js'
import type { Change } from './types.js'
import type { Row } from './wire.js'

/** So many paths of a bulk are looked up for whether it took effect. */
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

/** Whether a write took effect, and what it made. */
export type Effect = { kind: 'yes'; made: Written[] } | { kind: 'no' } | { kind: 'unknown' }

/**
 * Whether a write whose answer was lost took effect before somebody else's overtook it. It did where the version after each
 * one that it expected has its bytes, and did not where one of these has other bytes: a bulk is all or nothing. A deletion
 * leaves nothing to look at, and is believed only beside such a version. What was to be written over whatever was there, and
 * what began from the same bytes and so made no version, tells nothing; of a large bulk not all is looked up.
 */
export async function tookEffect(
  wishes: ReadonlyMap<string, Wish>,
  expected: (path: string) => number | null,
  database: Database,
): Promise<Effect> {
  const made: Written[] = []
  let seen = false
  for (const [path, wish] of [...wishes].slice(0, MOST_LOOKED_UP)) {
    const base = expected(path)
    if (base === null) continue
    const version = base + 1
    if (wish.kind === 'removed') {
      made.push({ path, version, hash: null })
      continue
    }
    const hash = wish.kind === 'asset' ? wish.contentHash : await sha256(utf8(wish.content))
    const found = await hashOf(database, path, version)
    if (found === hash) {
      seen = true
      made.push({ path, version, hash })
    } else if (found !== null && (base === 0 || (await hashOf(database, path, base)) !== hash)) {
      return { kind: 'no' }
    }
  }
  return seen && made.length === wishes.size ? { kind: 'yes', made } : { kind: 'unknown' }
}

async function hashOf(database: Database, path: string, version: number): Promise<string | null> {
  try {
    return (await database.file(path, version)).hash
  } catch (error) {
    if (error instanceof ProjectFilesError && error.kind === 'not_found') return null
    throw error
  }
}
