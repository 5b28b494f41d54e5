import { Conflict, type Project, type Row, said } from './project'

/** What another saved while this was edited; null where it was deleted. */
export interface Theirs {
  version: number
  text: string | null
}

/** How far an edit's save is. Times are this machine's, in Unix milliseconds. */
export interface SaveTold {
  path: string
  version: number
  began: number
  saved: number
}

export interface DocWatcher {
  /** State or conflict changed. */
  changed(doc: Doc): void
  /** The text was replaced by what another saved. */
  replaced(doc: Doc): void
  saved(told: SaveTold): void
}

/** A save follows the last keystroke by this much. */
const QUIET_MS = 600
const RETRY_MS = 2000

/** A text file that is being edited: what the database has, what is typed, and the way from one to the other. */
export class Doc {
  text: string
  theirs: Theirs | null = null
  error: string | null = null
  saving = false
  private timer: ReturnType<typeof setTimeout> | undefined
  private began = 0

  constructor(
    public project: Project,
    readonly path: string,
    /** What the database has, as far as this knows. */
    public base: { version: number; text: string },
    private readonly watcher: DocWatcher,
  ) {
    this.text = base.text
  }

  get dirty(): boolean {
    return this.text !== this.base.text
  }

  /** Takes what was typed. */
  edit(text: string): void {
    if (!this.dirty) this.began = Date.now()
    this.text = text
    this.error = null
    clearTimeout(this.timer)
    if (this.dirty && !this.theirs) this.timer = setTimeout(() => void this.save(), QUIET_MS)
    this.watcher.changed(this)
  }

  /** Saves now what is not saved. What is typed meanwhile is saved afterwards. */
  async save(): Promise<void> {
    clearTimeout(this.timer)
    if (!this.dirty || this.saving || this.theirs || this.project.closed) return
    const text = this.text
    const began = Date.now()
    this.saving = true
    this.watcher.changed(this)
    try {
      const version = await this.project.save(this.path, text, this.base.version)
      this.base = { version, text }
      this.error = null
      this.watcher.saved({ path: this.path, version, began, saved: Date.now() })
    } catch (error) {
      if (error instanceof Conflict) {
        await this.project.catchUp()
        await this.meet(this.project.rows.get(this.path), error.current)
      } else {
        this.error = said(error)
        this.timer = setTimeout(() => void this.save(), RETRY_MS)
      }
    } finally {
      this.saving = false
      this.watcher.changed(this)
    }
    if (this.dirty && !this.theirs && !this.error) void this.save()
    await this.look()
  }

  /** Compares with the list of files, which may know of a newer version. */
  async look(): Promise<void> {
    const row = this.project.rows.get(this.path)
    // The list may be older than an answer that overtook it.
    if (this.saving || !row || row.version <= (this.theirs?.version ?? this.base.version)) return
    try {
      await this.meet(row, row.version)
    } catch (error) {
      this.error = said(error)
      this.watcher.changed(this)
    }
  }

  /** Another run of the program: its versions begin anew. */
  async moveTo(project: Project): Promise<void> {
    this.project = project
    this.theirs = null
    this.base = { ...this.base, version: -1 }
    await this.look()
  }

  private async meet(row: Row | undefined, version: number): Promise<void> {
    const text = row && !row.is_deleted && row.encoding === 'utf-8' ? await this.project.text(row) : null
    version = row?.version ?? version
    if (text !== null && text === this.text) {
      this.base = { version, text }
      this.theirs = null
    } else if (text !== null && text === this.base.text) {
      // The same content under another number: what is typed here goes on.
      this.base = { version, text }
      this.edit(this.text)
    } else if (!this.dirty && text !== null) {
      this.base = { version, text }
      this.text = text
      this.watcher.replaced(this)
    } else {
      clearTimeout(this.timer)
      this.theirs = { version, text }
    }
    this.watcher.changed(this)
  }

  /** Saves what is here over what another saved. */
  keepMine(): Promise<void> {
    if (!this.theirs) return Promise.resolve()
    this.base = { version: this.theirs.version, text: this.theirs.text ?? '' }
    this.theirs = null
    this.began = Date.now()
    return this.save()
  }

  /** Gives up what is here. False where the file is deleted. */
  takeTheirs(): boolean {
    const theirs = this.theirs
    this.theirs = null
    if (!theirs || theirs.text === null) return false
    this.base = { version: theirs.version, text: theirs.text }
    this.text = theirs.text
    this.watcher.replaced(this)
    this.watcher.changed(this)
    return true
  }

  /** When the edit that is not saved yet began. */
  get since(): number {
    return this.began
  }

  dispose(): void {
    clearTimeout(this.timer)
  }
}
