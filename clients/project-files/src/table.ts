import { ProjectFilesError } from './errors.js'
import type { DecodedEvent, Page, Row } from './wire.js'

/**
 * What came of an event.
 * - `applied`: it was the next revision.
 * - `old`: its revision is already known, or it is not about files.
 * - `behind`: an earlier one is missing, or it is incomplete: read from `Table.knownRevision`.
 */
export type EventOutcome = 'applied' | 'old' | 'behind'

/**
 * The newest rows that are known, tombstones included. A row is replaced only by one of a higher revision, so that a late
 * answer cannot undo a newer one; only a reset goes to lower revisions. No I/O, no clock.
 */
export class Table {
  /** Everything up to this revision is in the table. */
  knownRevision = 0
  /** Counts the resets: what was requested before a reset says nothing about the state after it. */
  epoch = 0
  readonly rows = new Map<string, Row>()
  /** The highest revision that any row or head has named. */
  private highestRevision = 0

  /** Starts a reading: of what came after `since`, or of everything from 0. */
  listing(since: number): Listing {
    return new Listing(since, this.epoch, this.highestRevision)
  }

  /** Accepts a row, unless a newer one is known. True where the path's row has changed. */
  accept(row: Row): boolean {
    const old = this.rows.get(row.path)
    if (old && old.revision >= row.revision) {
      return (
        row.content !== undefined && old.version === row.version && this.setText(row.path, row.version, row.content)
      )
    }
    const same = old !== undefined && old.version === row.version && old.contentHash === row.contentHash
    const kept = row.content ?? (same ? old.content : undefined)
    this.rows.set(row.path, { ...row, content: kept })
    this.highestRevision = Math.max(this.highestRevision, row.revision)
    return !same || old.deleted !== row.deleted || kept !== old.content
  }

  /** Adds the text to a row that came without it. False where it is not that row's. */
  setText(path: string, version: number, content: string): boolean {
    const row = this.rows.get(path)
    if (!row || row.version !== version || row.deleted || row.content !== undefined || row.encoding !== 'utf-8')
      return false
    this.rows.set(path, { ...row, content })
    return true
  }

  /** Rows of existing text files whose content is not known. */
  rowsWithoutText(): Row[] {
    return [...this.rows.values()].filter(
      (row) => !row.deleted && row.encoding === 'utf-8' && row.content === undefined,
    )
  }

  /** Applies the next revision's event, and adds the paths that changed to `changed`. */
  applyEvent(event: DecodedEvent, changed: Set<string>): EventOutcome {
    if (event.kind === 'ignored') return 'old'
    if (event.kind === 'incomplete') return 'behind'
    if (event.revision <= this.knownRevision) return 'old'
    if (event.revision > this.knownRevision + 1) return 'behind'
    for (const row of event.rows) if (this.accept(row)) changed.add(row.path)
    this.knownRevision = event.revision
    this.highestRevision = Math.max(this.highestRevision, this.knownRevision)
    return 'applied'
  }

  /** Applies a complete listing. False where it is not about the present state: read again from `knownRevision`. */
  applyListing(listing: Listing, changed: Set<string>): boolean {
    if (listing.epoch !== this.epoch) return false
    // A head below what was known before the request: the database was restored and has another history.
    const restored = listing.head < listing.highestRevision
    if (restored && !listing.reset && listing.since > 0) {
      this.knownRevision = 0
      this.epoch += 1
      return false
    }
    if (listing.reset || restored) {
      this.replaceAll(listing, changed)
      return true
    }
    if (listing.since === 0) this.dropUnlisted(listing, changed)
    for (const row of listing.rows.values()) if (this.accept(row)) changed.add(row.path)
    this.knownRevision = Math.max(this.knownRevision, listing.head)
    this.highestRevision = Math.max(this.highestRevision, this.knownRevision)
    return true
  }

  /** The listing replaces the table, also by lower revisions. Texts of equal content are kept. */
  private replaceAll(listing: Listing, changed: Set<string>): void {
    const old = new Map(this.rows)
    this.rows.clear()
    this.knownRevision = listing.head
    this.highestRevision = listing.head
    this.epoch += 1
    for (const row of listing.rows.values()) {
      const before = old.get(row.path)
      const same = before?.contentHash === row.contentHash && before?.deleted === row.deleted
      this.rows.set(row.path, { ...row, content: row.content ?? (same ? before?.content : undefined) })
    }
    for (const path of [...old.keys(), ...this.rows.keys()]) changed.add(path)
  }

  /** A listing from 0 is the full state: removes what it does not name, except rows that are newer than its head. */
  private dropUnlisted(listing: Listing, changed: Set<string>): void {
    for (const [path, row] of this.rows) {
      if (row.revision > listing.head) continue
      const listed = listing.rows.get(path)
      const same = listed?.version === row.version && listed.contentHash === row.contentHash
      if (same && listed.revision >= row.revision) continue
      this.rows.delete(path)
      if (same) listing.rows.set(path, { ...listed, content: listed.content ?? row.content })
      else if (listed || !row.deleted) changed.add(path)
    }
  }
}

/** The pages of one reading. They are not applied before the last one has arrived. */
export class Listing {
  readonly rows = new Map<string, Row>()
  head = 0
  reset = false
  private next: number

  constructor(
    readonly since: number,
    readonly epoch: number,
    /** The highest revision that was known when the reading began. */
    readonly highestRevision: number,
  ) {
    this.next = since
  }

  /** Adds the next page. Returns the revision to request the following page from, or null where this was the last. */
  add(page: Page): number | null {
    if (page.reset) {
      this.rows.clear()
      this.reset = true
    }
    for (const row of page.rows) {
      const old = this.rows.get(row.path)
      if (!old || old.revision < row.revision) this.rows.set(row.path, row)
    }
    // Each page was read at another moment: the last page's head is the head of the state.
    this.head = page.head
    const last = page.rows.reduce((highest, row) => Math.max(highest, row.revision), this.next)
    if (page.complete || page.reset) return null
    if (last === this.next) throw new ProjectFilesError('unexpected', 'a page without changes that is not the last one')
    this.next = last
    return last
  }
}
