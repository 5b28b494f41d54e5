import { ProjectFilesError } from './errors.js'
import type { Heard, Page, Row } from './wire.js'

/**
 * The newest rows as far as they are known, tombstones included. Each yields only to a row of a higher revision, so that an
 * answer that comes late undoes nothing; only a reset goes down. No I/O, no clock.
 */
export class Table {
  /** Everything up to this revision has been taken in. */
  known = 0
  /** Counts the resets: what was asked for before one says nothing about the state after it. */
  epoch = 0
  readonly rows = new Map<string, Row>()
  /** The highest revision that was ever told of. */
  private highest = 0

  /** A reading from here: of what came after `since`, or from 0 of all. */
  listing(since: number): Listing {
    return new Listing(since, this.epoch, this.highest)
  }

  /** Takes a row in, or leaves it. True where the path's row is another now. */
  accept(row: Row): boolean {
    const old = this.rows.get(row.path)
    if (old && old.revision >= row.revision) {
      return row.content !== undefined && old.version === row.version && this.fill(row.path, row.version, row.content)
    }
    const same = old !== undefined && old.version === row.version && old.contentHash === row.contentHash
    const kept = row.content ?? (same ? old.content : undefined)
    this.rows.set(row.path, { ...row, content: kept })
    this.highest = Math.max(this.highest, row.revision)
    return !same || old.deleted !== row.deleted || kept !== old.content
  }

  /** Puts the text to a row that came without. */
  fill(path: string, version: number, content: string): boolean {
    const row = this.rows.get(path)
    if (!row || row.version !== version || row.deleted || row.content !== undefined || row.encoding !== 'utf-8')
      return false
    this.rows.set(path, { ...row, content })
    return true
  }

  /** Live texts without their content. */
  missing(): Row[] {
    return [...this.rows.values()].filter(
      (row) => !row.deleted && row.encoding === 'utf-8' && row.content === undefined,
    )
  }

  /**
   * Takes in the next revision's event. `behind`: something was missed, or the event does not say all; read what came since
   * [`Table.known`].
   */
  hear(heard: Heard, changed: Set<string>): 'taken' | 'old' | 'behind' {
    if (heard.kind === 'other') return 'old'
    if (heard.kind === 'nudge') return 'behind'
    if (heard.revision <= this.known) return 'old'
    if (heard.revision > this.known + 1) return 'behind'
    for (const row of heard.rows) if (this.accept(row)) changed.add(row.path)
    this.known = heard.revision
    this.highest = Math.max(this.highest, this.known)
    return 'taken'
  }

  /** Takes in a whole listing. False where it says nothing about the present state: read again from [`Table.known`]. */
  take(listing: Listing, changed: Set<string>): boolean {
    if (listing.epoch !== this.epoch) return false
    // A head below what was known before it was asked for: the database was put back, and has another history.
    const another = listing.head < listing.highest
    if (another && !listing.reset && listing.since > 0) {
      this.known = 0
      this.epoch += 1
      return false
    }
    if (listing.reset || another) {
      const old = new Map(this.rows)
      this.rows.clear()
      this.known = this.highest = listing.head
      this.epoch += 1
      for (const row of listing.rows.values()) {
        const before = old.get(row.path)
        const same = before?.contentHash === row.contentHash && before?.deleted === row.deleted
        this.rows.set(row.path, { ...row, content: row.content ?? (same ? before?.content : undefined) })
      }
      for (const path of [...old.keys(), ...this.rows.keys()]) changed.add(path)
      return true
    }
    // From the beginning it is the full state: what it says stands, and what it does not name is gone, but for what came
    // after it was read.
    if (listing.since === 0) {
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
    for (const row of listing.rows.values()) if (this.accept(row)) changed.add(row.path)
    this.known = Math.max(this.known, listing.head)
    this.highest = Math.max(this.highest, this.known)
    return true
  }
}

/** The pages of one reading. They are no state before the last has come. */
export class Listing {
  readonly rows = new Map<string, Row>()
  head = 0
  reset = false
  private next: number

  constructor(
    readonly since: number,
    readonly epoch: number,
    /** The highest revision that was known when it was begun. */
    readonly highest: number,
  ) {
    this.next = since
  }

  /** Takes the next page, and gives the revision to ask the one after from, or null where this was the last. */
  add(page: Page): number | null {
    if (page.reset) {
      this.rows.clear()
      this.reset = true
    }
    for (const row of page.rows) {
      const old = this.rows.get(row.path)
      if (!old || old.revision < row.revision) this.rows.set(row.path, row)
    }
    // Of several pages each was read at another moment: the last one's head is the state's.
    this.head = page.head
    const last = page.rows.reduce((highest, row) => Math.max(highest, row.revision), this.next)
    if (page.complete || page.reset) return null
    if (last === this.next) throw new ProjectFilesError('unexpected', 'a page of changes without any is not the last')
    this.next = last
    return last
  }
}
