import type { Database } from './database.js'
import { ProjectFilesError } from './errors.js'
import type { ProjectState } from './state.js'

/** Texts that are read at the same time. */
const PARALLEL_READS = 4
/** After so many readings in a row that newer changes have overtaken, the reading fails. */
export const MAX_ROUNDS = 20

/** What a reading covers: the changes since the known revision, or everything. */
export type ReadScope = 'changes' | 'all'

/** Brings the state up to the database. One reading runs at a time; requests that come meanwhile share the next one. */
export class Reader {
  private running: Promise<void> | null = null
  private requested: ReadScope | null = null

  constructor(
    private readonly database: Database,
    private readonly state: ProjectState,
    /** `keep`: every text is read and held. `ask`: a text is read when it is asked for. */
    private readonly texts: 'keep' | 'ask',
    private readonly onChanged: (paths: Set<string>) => void,
  ) {}

  /** Resolves once the state is one that the database had after this call. */
  async read(scope: ReadScope): Promise<void> {
    if (this.requested !== 'all') this.requested = scope
    // A reading that is running may have missed what was written just before this call.
    if (this.running) await this.running.catch(() => {})
    // Another caller that waited may have started the next one, which serves this call as well.
    if (this.running) return this.running
    if (this.requested === null) return
    this.running = this.run(this.takeRequest()).finally(() => {
      this.running = null
    })
    return this.running
  }

  /** Whether texts are to be held here that were not read yet. */
  hasMissingTexts(): boolean {
    return this.texts === 'keep' && this.state.table.rowsWithoutText().length > 0
  }

  private takeRequest(): ReadScope {
    const scope = this.requested ?? 'changes'
    this.requested = null
    return scope
  }

  private async run(scope: ReadScope): Promise<void> {
    for (let round = 1; ; round += 1) {
      const applied = await this.list(scope === 'all' && round === 1 ? 0 : this.state.table.knownRevision)
      if (applied && (this.texts === 'ask' || (await this.readMissingTexts()))) return
      if (round === MAX_ROUNDS) {
        throw new ProjectFilesError('unavailable', 'the project changes faster than it can be read')
      }
    }
  }

  private async list(since: number): Promise<boolean> {
    const listing = this.state.table.listing(since)
    for (let next: number | null = since; next !== null; ) {
      next = listing.add(await this.database.changes(next, this.texts === 'keep'))
    }
    const changed = new Set<string>()
    const applied = this.state.applyListing(listing, changed)
    this.onChanged(changed)
    return applied
  }

  /** Reads the texts that the listing left out. False where newer rows have replaced some of them. */
  private async readMissingTexts(): Promise<boolean> {
    const missing = this.state.table.rowsWithoutText()
    let whole = true
    const worker = async () => {
      for (let row = missing.pop(); row; row = missing.pop()) {
        whole = (await this.text(row.path, row.version)) !== undefined && whole
      }
    }
    await Promise.all(Array.from({ length: PARALLEL_READS }, worker))
    return whole
  }

  /** Reads one text; null for a file in storage, undefined where that version is no longer kept. */
  async text(path: string, version: number): Promise<string | null | undefined> {
    try {
      const { content } = await this.database.file(path, version)
      const changed = new Set<string>()
      if (content !== null && this.texts === 'keep') this.state.setText(path, version, content, changed)
      this.onChanged(changed)
      return content
    } catch (error) {
      if (error instanceof ProjectFilesError && error.kind === 'not_found') return undefined
      throw error
    }
  }
}
