import { ProjectFilesError } from './errors.js'
import type { Encoding } from './types.js'

/** The newest row of a path, as an answer or an event gives it. */
export interface Row {
  path: string
  version: number
  revision: number
  deleted: boolean
  /** Null for a tombstone. */
  contentHash: string | null
  size: number
  encoding: Encoding
  /** Undefined where it was left out, lies in storage, or there is none. */
  content: string | undefined
}

/** A page of `list_project_changes`. */
export interface Page {
  head: number
  complete: boolean
  reset: boolean
  rows: Row[]
}

/** What an event says: rows of one whole revision; that something changed; nothing to us. */
export type Heard = { kind: 'rows'; revision: number; rows: Row[] } | { kind: 'nudge' } | { kind: 'other' }

type Fields = Record<string, unknown>

/** A row as the write functions give it, or one of a listing. */
export function row(value: unknown): Row {
  const fields = object(value, 'a row')
  return {
    ...content(fields),
    path: text(fields.file_path, 'file_path'),
    version: count(fields.version, 'version'),
    revision: count(fields.revision, 'revision'),
    deleted: fields.is_deleted === true,
  }
}

export function page(value: unknown): Page {
  const fields = object(value, 'a page')
  if (!Array.isArray(fields.files)) throw strange('files is no list')
  return {
    head: count(fields.head_revision, 'head_revision'),
    complete: fields.complete === true,
    reset: fields.reset === true,
    rows: fields.files.map(row),
  }
}

/** `{revision, files}` of a bulk. */
export function bulk(value: unknown): {
  revision: number
  files: { path: string; version: number; hash: string | null }[]
} {
  const fields = object(value, 'the answer to a bulk')
  if (!Array.isArray(fields.files)) throw strange('files is no list')
  const files = fields.files.map((file) => {
    const entry = object(file, 'an entry')
    const hash = typeof entry.content_hash === 'string' ? entry.content_hash : null
    return { path: text(entry.file_path, 'file_path'), version: count(entry.version, 'version'), hash }
  })
  return { revision: count(fields.revision, 'revision'), files }
}

export function head(value: unknown): number {
  return count(object(value, 'the head').head_revision, 'head_revision')
}

/** The text of `get_project_file`; null for what lies in storage. */
export function file(value: unknown): { content: string | null; hash: string } {
  const fields = object(value, 'a file')
  const content = fields.content === null ? null : text(fields.content, 'content')
  return { content, hash: text(fields.content_hash, 'content_hash') }
}

/** An event. What is not whole, not versioned or not understood is a reason to read, and never believed. */
export function heard(event: string, payload: unknown): Heard {
  const names = ['file:update', 'file:delete', 'bulk:apply', 'file:bulk-update', 'snapshot:ready']
  if (!names.includes(event)) return { kind: 'other' }
  try {
    const fields = object(payload, 'an event')
    if (event === 'snapshot:ready' || event === 'file:bulk-update') return { kind: 'nudge' }
    const revision = count(fields.revision, 'revision')
    if (event !== 'bulk:apply') {
      return { kind: 'rows', revision, rows: [entry({ ...fields, action: event.slice('file:'.length) }, revision)] }
    }
    const files = Array.isArray(fields.files) ? fields.files : []
    const whole = fields.files_omitted !== true && (fields.count === undefined || fields.count === files.length)
    if (!whole || files.length === 0) return { kind: 'nudge' }
    return { kind: 'rows', revision, rows: files.map((one) => entry(object(one, 'an entry'), revision)) }
  } catch {
    return { kind: 'nudge' }
  }
}

/** The paths and versions that an event names, and its time, whatever else it says. */
export function named(payload: unknown): { path: string; version: number; at: number }[] {
  if (typeof payload !== 'object' || payload === null) return []
  const fields = payload as Fields
  const time = typeof fields.timestamp === 'string' ? Date.parse(fields.timestamp) : fields.timestamp
  const at = typeof time === 'number' && Number.isFinite(time) ? time : Date.now()
  const files: unknown[] = Array.isArray(fields.files) ? fields.files : [fields]
  return files.flatMap((value) => {
    const { file_path: path, version } = (value ?? {}) as Fields
    return typeof path === 'string' && typeof version === 'number' ? [{ path, version, at }] : []
  })
}

function entry(fields: Fields, revision: number): Row {
  const deleted = fields.action === 'delete'
  if (!deleted && fields.action !== 'update') throw strange(`action is ${String(fields.action)}`)
  const path = text(fields.file_path ?? fields.path, 'file_path')
  const row = { ...content(fields), path, version: count(fields.version, 'version'), revision, deleted }
  if (!deleted && row.contentHash === null) throw strange('an update without its hash')
  return row
}

function content(fields: Fields): Pick<Row, 'contentHash' | 'size' | 'encoding' | 'content'> {
  const encoding = fields.encoding === 'base64' ? 'base64' : 'utf-8'
  return {
    contentHash: typeof fields.content_hash === 'string' ? fields.content_hash : null,
    size: typeof fields.size === 'number' ? fields.size : 0,
    encoding,
    content: encoding === 'utf-8' && typeof fields.content === 'string' ? fields.content : undefined,
  }
}

function object(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw strange(`${what} is no object`)
  return value as Fields
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw strange(`${name} is no text`)
  return value
}

function count(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw strange(`${name} is no number from 0 up`)
  return value
}

function strange(what: string): ProjectFilesError {
  return new ProjectFilesError('unexpected', `the database's answer is not understood: ${what}`)
}
