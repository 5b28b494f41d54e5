import { sha256, utf8 } from './assets.js'
import type { Database } from './database.js'
import { ProjectFilesError } from './errors.js'
import type { TargetState } from './state.js'
import type { Change } from './types.js'
import type { Row, WrittenFile } from './wire.js'

/** Paths of a bulk that are looked up to find out whether it took effect. */
const MAX_LOOKUPS = 100

export function targetOf(change: Change): TargetState {
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

/** The row that a write made, from its answer and what was requested. */
export function writtenRow(written: WrittenFile, target: TargetState | undefined, revision: number): Row {
  const { path, version, hash } = written
  const row = { path, version, revision, contentHash: hash, deleted: false }
  if (target?.kind === 'text') {
    return { ...row, size: utf8(target.content).byteLength, encoding: 'utf-8', content: target.content }
  }
  if (target?.kind === 'asset') return { ...row, size: target.size, encoding: 'base64', content: undefined }
  return { ...row, deleted: true, contentHash: null, size: 0, encoding: 'utf-8', content: undefined }
}

/** Whether a write took effect, and what it made. */
export type Effect = { kind: 'applied'; files: WrittenFile[] } | { kind: 'not_applied' } | { kind: 'unknown' }

/**
 * Finds out whether a write whose answer was lost took effect before another change replaced it. It did where the version
 * after each expected one has the write's bytes. It did not where one of those versions has other bytes: a bulk is all or
 * nothing. A deletion leaves no bytes to compare, so it is assumed only together with such a version. The result is unknown
 * where a path has no expected version, where the bytes were equal before (no version was made), and for large bulks.
 */
export async function findEffect(
  targets: ReadonlyMap<string, TargetState>,
  expected: (path: string) => number | null,
  database: Database,
): Promise<Effect> {
  const files: WrittenFile[] = []
  let found = false
  for (const [path, target] of [...targets].slice(0, MAX_LOOKUPS)) {
    const base = expected(path)
    if (base === null) continue
    const version = base + 1
    if (target.kind === 'removed') {
      files.push({ path, version, hash: null })
      continue
    }
    const hash = target.kind === 'asset' ? target.contentHash : await sha256(utf8(target.content))
    const current = await hashOf(database, path, version)
    if (current === hash) {
      found = true
      files.push({ path, version, hash })
    } else if (current !== null && (base === 0 || (await hashOf(database, path, base)) !== hash)) {
      return { kind: 'not_applied' }
    }
  }
  return found && files.length === targets.size ? { kind: 'applied', files } : { kind: 'unknown' }
}

async function hashOf(database: Database, path: string, version: number): Promise<string | null> {
  try {
    return (await database.file(path, version)).hash
  } catch (error) {
    if (error instanceof ProjectFilesError && error.kind === 'not_found') return null
    throw error
  }
}
