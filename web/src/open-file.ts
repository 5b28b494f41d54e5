import { errorText } from './error-text'
import type { ProjectSession } from './project-session'

/** A version of the file that another editor has saved; the text is null where it deleted the file. */
export interface RemoteChange {
  version: number
  text: string | null
}

/** A finished save. Times are this machine's, in Unix milliseconds. */
export interface SaveRecord {
  path: string
  version: number
  /** When the first change that this save contains was typed. */
  typedAt: number
  savedAt: number
}

export interface OpenFileListener {
  /** The state or the conflict changed. */
  onChanged(file: OpenFile): void
  /** The text was replaced by another editor's. `reset`: own changes were given up, so they must not be undone. */
  onReplaced(file: OpenFile, history: 'keep' | 'reset'): void
  onSaved(record: SaveRecord): void
}

/** A save follows the last keystroke after this time. Milliseconds. */
const SAVE_DELAY_MS = 200
/** A failed save is repeated after this time. Milliseconds. */
const RETRY_MS = 2000
/** The version of a base whose version in the present run is not known yet. */
const UNKNOWN_VERSION = -1

/** A text file in the editor: the database's text as far as it is known, the typed text, and the saving of it. */
export class OpenFile {
  text: string
  /** Set while there is a conflict. */
  remote: RemoteChange | null = null
  error: string | null = null
  saving = false
  private timer: ReturnType<typeof setTimeout> | undefined
  private running: Promise<void> | null = null
  /** When the first change that is not in a save yet was typed. */
  private typedAt: number | null = null

  constructor(
    private session: ProjectSession,
    readonly path: string,
    /** What the database has, as far as it is known here. */
    public base: { version: number; text: string },
    private readonly listener: OpenFileListener,
  ) {
    this.text = base.text
  }

  get dirty(): boolean {
    return this.text !== this.base.text
  }

  /** The text was changed by typing. */
  edit(text: string): void {
    this.typedAt ??= Date.now()
    this.text = text
    this.error = null
    this.saveLater(SAVE_DELAY_MS)
    this.listener.onChanged(this)
  }

  /** Saves now what is not saved. What is typed meanwhile is saved afterwards. Resolves when nothing can be saved any more. */
  async save(): Promise<void> {
    clearTimeout(this.timer)
    this.error = null
    while (this.canSave()) {
      this.running ??= this.saveOnce().finally(() => {
        this.running = null
      })
      await this.running
      this.listener.onChanged(this)
    }
    await this.checkDatabase()
  }

  private canSave(): boolean {
    return this.dirty && !this.remote && !this.error && !this.session.closed && this.base.version !== UNKNOWN_VERSION
  }

  private async saveOnce(): Promise<void> {
    const { path, text, session } = this
    const typedAt = this.typedAt ?? Date.now()
    this.typedAt = null
    this.saving = true
    this.listener.onChanged(this)
    try {
      const result = await session.save(path, text, this.base.version)
      if (result.kind === 'saved') {
        this.base = { version: result.file.version, text }
        this.listener.onSaved({ path, version: result.file.version, typedAt, savedAt: Date.now() })
        return
      }
      // The text of the conflict is held here, not in the package.
      session.files.discard(path)
      await session.files.refresh()
      this.meet(await this.readRemote(Math.max(result.currentVersion, session.files.version(path))))
    } catch (error) {
      this.typedAt = typedAt
      this.error = errorText(error)
      this.saveLater(RETRY_MS)
    } finally {
      this.saving = false
    }
  }

  private saveLater(ms: number): void {
    clearTimeout(this.timer)
    if (!this.dirty || this.remote) return
    this.timer = setTimeout(() => void this.save(), ms)
  }

  /** Compares with the list of files, which may name a newer version. */
  async checkDatabase(): Promise<void> {
    const { files } = this.session
    const version = files.version(this.path)
    // Revision 0: the list was not read yet.
    if (this.saving || files.revision === 0 || version <= (this.remote?.version ?? this.base.version)) return
    try {
      const remote = await this.readRemote(version)
      // While it was read, a save may have begun, which meets the version itself, or may have ended.
      if (!this.saving && version > (this.remote?.version ?? this.base.version)) this.meet(remote)
    } catch (error) {
      this.error = errorText(error)
      this.listener.onChanged(this)
    }
  }

  /** Continues in another run of the program, whose versions begin again. */
  async moveTo(session: ProjectSession): Promise<void> {
    this.session = session
    this.remote = null
    this.base = { ...this.base, version: UNKNOWN_VERSION }
    await session.files.refresh()
    await this.checkDatabase()
  }

  /** Reads the database's text. It may be newer than `version`, never older. */
  private async readRemote(version: number): Promise<RemoteChange> {
    const { files } = this.session
    const saved = files.get(this.path)?.saved
    return { version, text: saved?.encoding === 'utf-8' ? await files.read(this.path) : null }
  }

  /** Takes in the database's newest version, or shows a conflict with it. */
  private meet({ version, text }: RemoteChange): void {
    if (text !== null && text === this.text) {
      this.base = { version, text }
      this.remote = null
    } else if (text !== null && text === this.base.text) {
      // The same content under another number: the typed text is saved over it.
      this.base = { version, text }
      this.saveLater(SAVE_DELAY_MS)
    } else if (!this.dirty && text !== null) {
      this.base = { version, text }
      this.text = text
      this.listener.onReplaced(this, 'keep')
    } else {
      clearTimeout(this.timer)
      this.remote = { version, text }
    }
    this.listener.onChanged(this)
  }

  /** Ends a conflict: the text here replaces the other editor's. */
  keepMine(): Promise<void> {
    if (!this.remote) return Promise.resolve()
    this.base = { version: this.remote.version, text: this.remote.text ?? '' }
    this.remote = null
    this.typedAt = Date.now()
    return this.save()
  }

  /** Ends a conflict: the other editor's text replaces the one here. False where the file is deleted. */
  takeTheirs(): boolean {
    const remote = this.remote
    this.remote = null
    if (!remote || remote.text === null) return false
    this.base = { version: remote.version, text: remote.text }
    this.text = remote.text
    this.typedAt = null
    this.listener.onReplaced(this, 'reset')
    this.listener.onChanged(this)
    return true
  }

  dispose(): void {
    clearTimeout(this.timer)
  }
}
