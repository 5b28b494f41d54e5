import { type EventOutcome, type Listing, Table } from './table.js'
import type { FileView, ProjectFile } from './types.js'
import type { DecodedEvent, Row } from './wire.js'

/** What an edit makes of a path: text, a stored object, or nothing. */
export type TargetState =
  | { kind: 'text'; content: string }
  | { kind: 'asset'; contentHash: string; size: number }
  | { kind: 'removed' }

/** The version that an edit builds on: a number, whatever is there (null), or the result of an earlier edit. */
export type BaseVersion = number | null | { after: Edit; path: string }

/** One write that is being sent: of one path, or of all paths of a bulk. */
export interface Edit {
  readonly targets: ReadonlyMap<string, TargetState>
  readonly bases: Map<string, BaseVersion>
  /** The versions that the table had when the edit began. */
  readonly versionsBefore: ReadonlyMap<string, number>
  readonly epoch: number
  /** The version of each path, once the edit has succeeded. */
  versionsMade: ReadonlyMap<string, number> | null
}

interface RefusedEdit {
  content: string
  expectedVersion: number
  currentVersion: number
}

/**
 * The table, the edits that are being sent, and those that were refused because another change came first. What is shown is
 * the newest edit, else the refused one, else the table's row. Each method adds the paths whose view changes to `changed`.
 * No I/O, no clock.
 */
export class ProjectState {
  readonly table = new Table()
  private readonly edits = new Set<Edit>()
  private readonly refused = new Map<string, RefusedEdit>()

  /** Shows an edit at once. `expected` holds the versions that the caller named; other paths build on what is shown. */
  begin(
    targets: ReadonlyMap<string, TargetState>,
    expected: ReadonlyMap<string, number | null>,
    changed: Set<string>,
  ): Edit {
    const bases = new Map<string, BaseVersion>()
    const versionsBefore = new Map<string, number>()
    for (const path of targets.keys()) {
      const named = expected.get(path)
      versionsBefore.set(path, this.table.rows.get(path)?.version ?? 0)
      bases.set(path, named === undefined ? this.shownVersion(path) : named)
      changed.add(path)
    }
    const edit: Edit = { targets, bases, versionsBefore, epoch: this.table.epoch, versionsMade: null }
    this.edits.add(edit)
    return edit
  }

  /** The version of `path` that `edit` is to expect, now that the edits before it have ended. */
  expected(edit: Edit, path: string): number | null {
    const base = edit.bases.get(path) ?? null
    if (base === null || typeof base === 'number') return base
    return base.after.versionsMade?.get(base.path) ?? this.expected(base.after, base.path)
  }

  /** The edit was written. False where its rows (from before a reset, or of no known revision) say nothing about now. */
  confirm(edit: Edit, rows: readonly Row[], changed: Set<string>): boolean {
    edit.versionsMade = new Map(rows.map((row) => [row.path, row.version]))
    this.drop(edit, changed)
    for (const path of edit.targets.keys()) this.refused.delete(path)
    if (edit.epoch !== this.table.epoch || rows.some((row) => row.revision === 0)) return false
    for (const row of rows) {
      const old = this.table.rows.get(row.path)
      // An entry of a bulk that changed nothing: the table's row says more about it.
      const known = old?.version === row.version && old.contentHash === row.contentHash
      if (!known || row.content !== undefined) this.table.accept(row)
    }
    return true
  }

  /** The edit failed, or its result is not known: the database's row is shown again. */
  rollBack(edit: Edit, changed: Set<string>): void {
    this.drop(edit, changed)
  }

  /** Another change came first. The text of a single save is kept beside the row; everything else is dropped. */
  conflict(edit: Edit, path: string, expectedVersion: number, currentVersion: number, changed: Set<string>): void {
    this.drop(edit, changed)
    const target = edit.targets.get(path)
    if (edit.targets.size === 1 && target?.kind === 'text') {
      this.refused.set(path, { content: target.content, expectedVersion, currentVersion })
      this.dropRefusedIfEqual(path)
    }
  }

  /** Drops a refused edit. */
  discard(path: string, changed: Set<string>): void {
    if (this.refused.delete(path)) changed.add(path)
  }

  /** Applies an event; see `Table.applyEvent`. */
  applyEvent(event: DecodedEvent, changed: Set<string>): EventOutcome {
    const outcome = this.table.applyEvent(event, changed)
    for (const path of changed) this.dropRefusedIfEqual(path)
    return outcome
  }

  /** Applies a complete listing; see `Table.applyListing`. */
  applyListing(listing: Listing, changed: Set<string>): boolean {
    const applied = this.table.applyListing(listing, changed)
    for (const path of changed) this.dropRefusedIfEqual(path)
    return applied
  }

  /** Adds the text of a row that came without it; see `Table.setText`. */
  setText(path: string, version: number, content: string, changed: Set<string>): void {
    if (this.table.setText(path, version, content)) changed.add(path)
    this.dropRefusedIfEqual(path)
  }

  view(path: string): FileView | undefined {
    const saved = existingFile(this.table.rows.get(path))
    const edit = this.newestEdit(path)
    if (edit) {
      const target = edit.targets.get(path)
      if (target?.kind === 'removed') return undefined
      return { path, state: 'saving', content: target?.kind === 'text' ? target.content : undefined, saved }
    }
    const refused = this.refused.get(path)
    if (refused) {
      const { content, expectedVersion, currentVersion } = refused
      return { path, state: 'conflict', content, saved, conflict: { expectedVersion, currentVersion } }
    }
    return saved && { path, state: 'saved', content: saved.content, saved }
  }

  /** The paths that have a view, sorted. */
  paths(): string[] {
    const all = new Set([...this.table.rows.keys(), ...this.refused.keys()])
    for (const edit of this.edits) for (const path of edit.targets.keys()) all.add(path)
    return [...all].filter((path) => this.view(path) !== undefined).sort()
  }

  private shownVersion(path: string): BaseVersion {
    const after = this.newestEdit(path)
    if (after) return { after, path }
    return this.refused.get(path)?.expectedVersion ?? this.table.rows.get(path)?.version ?? 0
  }

  private newestEdit(path: string): Edit | undefined {
    let found: Edit | undefined
    for (const edit of this.edits) if (edit.targets.has(path)) found = edit
    return found
  }

  /** A refused edit whose text the database has meanwhile is not a conflict any more. */
  private dropRefusedIfEqual(path: string): void {
    const refused = this.refused.get(path)
    const row = this.table.rows.get(path)
    if (refused && row && !row.deleted && row.content === refused.content) this.refused.delete(path)
  }

  private drop(edit: Edit, changed: Set<string>): void {
    this.edits.delete(edit)
    for (const path of edit.targets.keys()) changed.add(path)
    // Edits that build on it keep its result instead of the edit, so that a long chain of edits is not held in memory.
    for (const other of this.edits) {
      for (const path of edit.targets.keys()) {
        const base = other.bases.get(path)
        if (base !== null && typeof base === 'object' && base.after === edit) {
          other.bases.set(path, edit.versionsMade?.get(base.path) ?? edit.bases.get(base.path) ?? null)
        }
      }
    }
  }
}

/** A row as users see it; undefined for a tombstone. */
export function existingFile(row: Row | undefined): ProjectFile | undefined {
  if (!row || row.deleted || row.contentHash === null) return undefined
  const { path, version, revision, contentHash, size, encoding, content } = row
  return { path, version, revision, contentHash, size, encoding, content }
}
