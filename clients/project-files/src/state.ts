import { type Listing, Table } from './table.js'
import type { FileView, ProjectFile } from './types.js'
import type { Heard, Row } from './wire.js'

/** What an edit makes of a path: text, a stored object, or nothing. */
export type Wish =
  | { kind: 'text'; content: string }
  | { kind: 'asset'; contentHash: string; size: number }
  | { kind: 'removed' }

/** The version that an edit builds on: a number, whatever is there, or what an earlier edit comes to. */
export type Base = number | null | { after: Edit; path: string }

/** One write on its way: of one path, or a bulk's. */
export interface Edit {
  readonly wishes: ReadonlyMap<string, Wish>
  readonly bases: Map<string, Base>
  /** The versions that the table had when it began. */
  readonly began: ReadonlyMap<string, number>
  readonly epoch: number
  /** Path to version, once it succeeded. */
  made: ReadonlyMap<string, number> | null
}

interface Refused {
  content: string
  expectedVersion: number
  currentVersion: number
}

/**
 * The table, the edits that are on their way above it, and those that met another's. What is shown is the newest edit, else
 * the refused one, else the table's row. Each method adds the paths that look otherwise now to `changed`. No I/O, no clock.
 */
export class ProjectState {
  readonly table = new Table()
  private readonly edits = new Set<Edit>()
  private readonly refused = new Map<string, Refused>()

  /** Shows an edit at once. `expected` has the versions that the caller named; other paths build on what is shown. */
  begin(wishes: ReadonlyMap<string, Wish>, expected: ReadonlyMap<string, number | null>, changed: Set<string>): Edit {
    const bases = new Map<string, Base>()
    const began = new Map<string, number>()
    for (const path of wishes.keys()) {
      const named = expected.get(path)
      began.set(path, this.table.rows.get(path)?.version ?? 0)
      bases.set(path, named === undefined ? this.shown(path) : named)
      changed.add(path)
    }
    const edit: Edit = { wishes, bases, began, epoch: this.table.epoch, made: null }
    this.edits.add(edit)
    return edit
  }

  /** The version that `edit` is to expect of `path`, now that the edits before it are settled. */
  expected(edit: Edit, path: string): number | null {
    const base = edit.bases.get(path) ?? null
    if (base === null || typeof base === 'number') return base
    return base.after.made?.get(base.path) ?? this.expected(base.after, base.path)
  }

  /** It was written. False where the rows, of before a reset or of no known revision, say nothing about now. */
  confirm(edit: Edit, rows: readonly Row[], changed: Set<string>): boolean {
    edit.made = new Map(rows.map((row) => [row.path, row.version]))
    this.drop(edit, changed)
    for (const path of edit.wishes.keys()) this.refused.delete(path)
    if (edit.epoch !== this.table.epoch || rows.some((row) => row.revision === 0)) return false
    for (const row of rows) {
      const old = this.table.rows.get(row.path)
      // A bulk's entry that changed nothing: what the table says of it says more.
      const known = old?.version === row.version && old.contentHash === row.contentHash
      if (!known || row.content !== undefined) this.table.accept(row)
    }
    return true
  }

  /** Nothing was written, or nobody knows: what is shown is the database's again. */
  rollBack(edit: Edit, changed: Set<string>): void {
    this.drop(edit, changed)
  }

  /** Another's came first. The text of a single save is kept beside it; all else goes back. */
  conflict(edit: Edit, path: string, expectedVersion: number, currentVersion: number, changed: Set<string>): void {
    this.drop(edit, changed)
    const wish = edit.wishes.get(path)
    if (edit.wishes.size === 1 && wish?.kind === 'text') {
      this.refused.set(path, { content: wish.content, expectedVersion, currentVersion })
      this.settle(path)
    }
  }

  /** Lets a refused edit go. */
  discard(path: string, changed: Set<string>): void {
    if (this.refused.delete(path)) changed.add(path)
  }

  /** Takes in an event; see [`Table.hear`]. */
  hear(heard: Heard, changed: Set<string>): 'taken' | 'old' | 'behind' {
    const taken = this.table.hear(heard, changed)
    for (const path of changed) this.settle(path)
    return taken
  }

  /** Takes in a whole listing; see [`Table.take`]. */
  take(listing: Listing, changed: Set<string>): boolean {
    const taken = this.table.take(listing, changed)
    for (const path of changed) this.settle(path)
    return taken
  }

  /** Takes in the text of a row that came without; see [`Table.fill`]. */
  fill(path: string, version: number, content: string, changed: Set<string>): void {
    if (this.table.fill(path, version, content)) changed.add(path)
    this.settle(path)
  }

  view(path: string): FileView | undefined {
    const saved = live(this.table.rows.get(path))
    const edit = this.newest(path)
    if (edit) {
      const wish = edit.wishes.get(path)
      if (wish?.kind === 'removed') return undefined
      return { path, state: 'saving', content: wish?.kind === 'text' ? wish.content : undefined, saved }
    }
    const refused = this.refused.get(path)
    if (refused) {
      const { content, expectedVersion, currentVersion } = refused
      return { path, state: 'conflict', content, saved, conflict: { expectedVersion, currentVersion } }
    }
    return saved && { path, state: 'saved', content: saved.content, saved }
  }

  /** The paths that are shown, sorted. */
  paths(): string[] {
    const all = new Set([...this.table.rows.keys(), ...this.refused.keys()])
    for (const edit of this.edits) for (const path of edit.wishes.keys()) all.add(path)
    return [...all].filter((path) => this.view(path) !== undefined).sort()
  }

  /** Whether a write of `path` is on its way. */
  busy(path: string): boolean {
    return this.newest(path) !== undefined
  }

  private shown(path: string): Base {
    const after = this.newest(path)
    if (after) return { after, path }
    return this.refused.get(path)?.expectedVersion ?? this.table.rows.get(path)?.version ?? 0
  }

  private newest(path: string): Edit | undefined {
    let found: Edit | undefined
    for (const edit of this.edits) if (edit.wishes.has(path)) found = edit
    return found
  }

  /** An edit that the database has after all is refused no more. */
  private settle(path: string): void {
    const refused = this.refused.get(path)
    const row = this.table.rows.get(path)
    if (refused && row && !row.deleted && row.content === refused.content) this.refused.delete(path)
  }

  private drop(edit: Edit, changed: Set<string>): void {
    this.edits.delete(edit)
    for (const path of edit.wishes.keys()) changed.add(path)
    // Those that wait for it hold what it came to, not the edit: else it would live as long as somebody types.
    for (const other of this.edits) {
      for (const path of edit.wishes.keys()) {
        const base = other.bases.get(path)
        if (base !== null && typeof base === 'object' && base.after === edit) {
          other.bases.set(path, edit.made?.get(base.path) ?? edit.bases.get(base.path) ?? null)
        }
      }
    }
  }
}

/** A row that is no tombstone, as users see it. */
export function live(row: Row | undefined): ProjectFile | undefined {
  if (!row || row.deleted || row.contentHash === null) return undefined
  const { path, version, revision, contentHash, size, encoding, content } = row
  return { path, version, revision, contentHash, size, encoding, content }
}
