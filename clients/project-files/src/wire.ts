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
  /** Undefined where it was left out, is in storage, or the row is a tombstone. */
  content: string | undefined
}

/** A page of `list_project_changes`. */
export interface Page {
  head: number
  complete: boolean
  reset: boolean
  rows: Row[]
}

/** The events of the contract. */
export const EVENT_NAMES = ['file:update', 'file:delete', 'bulk:apply', 'file:bulk-update', 'snapshot:ready'] as const
export type EventName = (typeof EVENT_NAMES)[number]

/**
 * - `rows`: all rows of one revision.
 * - `incomplete`: something changed, and the event does not carry all of it.
 * - `ignored`: not one of the events in `EVENT_NAMES`.
 */
export type DecodedEvent =
  | { kind: 'rows'; revision: number; rows: Row[] }
  | { kind: 'incomplete' }
  | { kind: 'ignored' }

type Fields = Record<string, unknown>

/** A row as the write functions return it, or one of a listing. */
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
  if (!Array.isArray(fields.files)) throw unexpectedAnswer('files is not a list')
  return {
    head: count(fields.head_revision, 'head_revision'),
    complete: fields.complete === true,
    reset: fields.reset === true,
    rows: fields.files.map(row),
  }
}

/** One file in the answer to a write; `hash` is null for a deletion. */
export interface WrittenFile {
  path: string
  version: number
  hash: string | null
}

/** `{revision, files}`, the answer to a bulk. */
export function bulk(value: unknown): { revision: number; files: WrittenFile[] } {
  const fields = object(value, 'the answer to a bulk')
  if (!Array.isArray(fields.files)) throw unexpectedAnswer('files is not a list')
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

/** The answer of `get_project_file`; the content of a file in storage is null. */
export function file(value: unknown): { content: string | null; hash: string } {
  const fields = object(value, 'a file')
  const content = fields.content === null ? null : text(fields.content, 'content')
  return { content, hash: text(fields.content_hash, 'content_hash') }
}

/** Decodes an event. One that is malformed, incomplete or without version is only a reason to read from the database. */
export function decodeEvent(name: string, payload: unknown): DecodedEvent {
  if (!isEventName(name)) return { kind: 'ignored' }
  try {
    const fields = object(payload, 'an event')
    if (name === 'snapshot:ready' || name === 'file:bulk-update') return { kind: 'incomplete' }
    const revision = count(fields.revision, 'revision')
    if (name !== 'bulk:apply') {
      const action = name === 'file:delete' ? 'delete' : 'update'
      return { kind: 'rows', revision, rows: [eventRow({ ...fields, action }, revision)] }
    }
    const files = Array.isArray(fields.files) ? fields.files : []
    const whole = fields.files_omitted !== true && (fields.count === undefined || fields.count === files.length)
    if (!whole || files.length === 0) return { kind: 'incomplete' }
    return { kind: 'rows', revision, rows: files.map((one) => eventRow(object(one, 'an entry'), revision)) }
  } catch {
    return { kind: 'incomplete' }
  }
}

/** The paths and versions that an event names, and its time, whether or not the event is complete. */
export function versionsIn(payload: unknown): { path: string; version: number; sentAt: number }[] {
  if (typeof payload !== 'object' || payload === null) return []
  const fields = payload as Fields
  const time = typeof fields.timestamp === 'string' ? Date.parse(fields.timestamp) : fields.timestamp
  const sentAt = typeof time === 'number' && Number.isFinite(time) ? time : Date.now()
  const files: unknown[] = Array.isArray(fields.files) ? fields.files : [fields]
  return files.flatMap((value) => {
    const { file_path: path, version } = (value ?? {}) as Fields
    return typeof path === 'string' && typeof version === 'number' ? [{ path, version, sentAt }] : []
  })
}

function isEventName(name: string): name is EventName {
  return (EVENT_NAMES as readonly string[]).includes(name)
}

function eventRow(fields: Fields, revision: number): Row {
  const deleted = fields.action === 'delete'
  if (!deleted && fields.action !== 'update') throw unexpectedAnswer(`action is ${String(fields.action)}`)
  const path = text(fields.file_path ?? fields.path, 'file_path')
  const row = { ...content(fields), path, version: count(fields.version, 'version'), revision, deleted }
  if (!deleted && row.contentHash === null) throw unexpectedAnswer('an update without its hash')
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
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw unexpectedAnswer(`${what} is not an object`)
  }
  return value as Fields
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw unexpectedAnswer(`${name} is not a text`)
  return value
}

function count(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw unexpectedAnswer(`${name} is not a whole number of at least 0`)
  }
  return value
}

function unexpectedAnswer(problem: string): ProjectFilesError {
  return new ProjectFilesError('unexpected', `cannot understand the database's answer: ${problem}`)
}
