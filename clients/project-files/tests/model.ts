import { createHash } from 'node:crypto'

interface Stored {
  file_path: string
  version: number
  revision: number
  content: string | null
  content_hash: string | null
  size: number
  encoding: 'utf-8'
  is_deleted: boolean
}

export interface ModelWrite {
  path: string
  /** Null: the file is deleted. */
  content: string | null
  expected: number | null
}

/** The contract's rules of the database in a few lines: the simulation compares its clients with it. */
export class Model {
  rows = new Map<string, Stored>()
  head = 0
  private floor = 0

  /** Returns the rows after the write, or the path in conflict. `event` is left out where nothing changed. */
  write(writes: ModelWrite[]): {
    conflict?: { path: string; current: number }
    rows: Stored[]
    event?: Record<string, unknown>
  } {
    const same = ({ path, content }: ModelWrite) => {
      const row = this.rows.get(path)
      return row !== undefined && (content === null ? row.is_deleted : !row.is_deleted && row.content === content)
    }
    for (const one of writes) {
      const row = this.rows.get(one.path)
      const current = row?.version ?? 0
      const free = one.expected === 0 && (row?.is_deleted ?? true)
      if (same(one) || one.expected === null || one.expected === current || free) continue
      return { conflict: { path: one.path, current }, rows: [] }
    }
    const changes = writes.filter((one) => !same(one))
    if (changes.length > 0) this.head += 1
    for (const { path, content } of changes) this.rows.set(path, this.row(path, content))
    const rows = writes.map(({ path }) => this.rows.get(path)!)
    const event = changes.length > 0 ? this.event(changes.map(({ path }) => this.rows.get(path)!)) : undefined
    return { rows, ...(event && { event }) }
  }

  /** A page of `list_project_changes`. */
  list(since: number, most: number): Record<string, unknown> {
    const reset = since > this.head || (since > 0 && since < this.floor)
    const newer = [...this.rows.values()].filter((row) => (reset ? !row.is_deleted : row.revision > since))
    newer.sort((one, other) => one.revision - other.revision)
    const last = reset ? undefined : newer[most - 1]?.revision
    const files = newer.filter((row) => last === undefined || row.revision <= last)
    return { head_revision: this.head, complete: files.length === newer.length, ...(reset && { reset }), files }
  }

  /** Removes old tombstones. */
  prune(): void {
    this.floor = Math.max(this.floor, this.head - 5)
    for (const [path, row] of this.rows) if (row.is_deleted && row.revision <= this.floor) this.rows.delete(path)
  }

  backup(): () => void {
    const [rows, head, floor] = [new Map(this.rows), this.head, this.floor]
    return () => ([this.rows, this.head, this.floor] = [new Map(rows), head, floor])
  }

  private row(path: string, content: string | null): Stored {
    const version = (this.rows.get(path)?.version ?? 0) + 1
    const content_hash = content === null ? null : createHash('sha256').update(content).digest('hex')
    const size = Buffer.byteLength(content ?? '')
    return {
      file_path: path,
      version,
      revision: this.head,
      content,
      content_hash,
      size,
      encoding: 'utf-8',
      is_deleted: content === null,
    }
  }

  private event(rows: Stored[]): Record<string, unknown> {
    const files = rows.map(({ is_deleted, revision: _, ...row }) => ({
      ...row,
      action: is_deleted ? 'delete' : 'update',
    }))
    return { revision: this.head, count: files.length, files }
  }
}
