import type { Database } from './database.js'
import { ProjectFilesError } from './errors.js'
import type { ProjectState } from './state.js'

/** Texts that are read at a time. */
const AT_A_TIME = 4
/** A listing, or a text, that is overtaken so often in a row while it is read is given up. */
export const ROUNDS = 20

/** Brings the state up to the database. One reading runs at a time; what is asked for meanwhile is one more after it. */
export class Reader {
  private running: Promise<void> | null = null
  private wanted: 'nothing' | 'changes' | 'all' = 'nothing'

  constructor(
    private readonly database: Database,
    private readonly state: ProjectState,
    /** Whether texts are kept here, or read when they are asked for. */
    private readonly keepTexts: boolean,
    private readonly changed: (paths: Set<string>) => void,
  ) {}

  /**
   * Reads what came since the known revision, or all. It resolves once the state is one that the database had after the
   * call.
   */
  async read(what: 'changes' | 'all'): Promise<void> {
    if (this.wanted !== 'all') this.wanted = what
    // A reading that runs may have passed over what came just before the call.
    if (this.running) await this.running.catch(() => {})
    // Another who waited may have begun one meanwhile, which is for this call as well.
    if (this.running) return this.running
    if (!this.isWanted()) return
    this.running = this.run().finally(() => (this.running = null))
    return this.running
  }

  /** Whether texts are wanted here that are not. */
  lacks(): boolean {
    return this.keepTexts && this.state.table.missing().length > 0
  }

  private isWanted(): boolean {
    return this.wanted !== 'nothing'
  }

  private async run(): Promise<void> {
    const all = this.wanted === 'all'
    this.wanted = 'nothing'
    for (let round = 1; ; round += 1) {
      const taken = await this.list(all && round === 1 ? 0 : this.state.table.known)
      if (taken && (!this.keepTexts || (await this.fill()))) return
      if (round === ROUNDS) throw new ProjectFilesError('unavailable', 'the project changes faster than it can be read')
    }
  }

  private async list(since: number): Promise<boolean> {
    const listing = this.state.table.listing(since)
    for (let next: number | null = since; next !== null; ) {
      next = listing.add(await this.database.changes(next, this.keepTexts))
    }
    const changed = new Set<string>()
    const taken = this.state.take(listing, changed)
    this.changed(changed)
    return taken
  }

  /** Reads the texts that the listing left out. False where some were overtaken by newer rows. */
  private async fill(): Promise<boolean> {
    const missing = this.state.table.missing()
    let whole = true
    const worker = async () => {
      for (let row = missing.pop(); row; row = missing.pop()) {
        whole = (await this.text(row.path, row.version)) !== undefined && whole
      }
    }
    await Promise.all(Array.from({ length: AT_A_TIME }, worker))
    return whole
  }

  /** One text, read and kept; undefined where that version is gone. */
  async text(path: string, version: number): Promise<string | null | undefined> {
    try {
      const { content } = await this.database.file(path, version)
      const changed = new Set<string>()
      if (content !== null && this.keepTexts) this.state.fill(path, version, content, changed)
      this.changed(changed)
      return content
    } catch (error) {
      if (error instanceof ProjectFilesError && error.kind === 'not_found') return undefined
      throw error
    }
  }
}
