import { asText, sha256, utf8 } from './assets.js'
import { type Client, Database } from './database.js'
import { ProjectFilesError } from './errors.js'
import { Follower } from './follower.js'
import { checkPathLength } from './paths.js'
import { Preview } from './preview.js'
import type { PreviewEvents, Problem, Settled, Verdict } from './preview-types.js'
import { MAX_ROUNDS, Reader } from './reader.js'
import { abortedError, DEFAULT_RETRY, type RetryPolicy } from './retry.js'
import { existingFile, ProjectState } from './state.js'
import type * as api from './types.js'
import type * as wire from './wire.js'
import { Writer, type Written } from './writer.js'

export interface Options {
  /** `keep` (default): every text is held in memory. `ask`: a text is read when `ProjectFiles.read` asks for it. */
  texts?: 'keep' | 'ask' | undefined
  retry?: Partial<RetryPolicy> | undefined
  /** How often the head is requested while there is a listener, in milliseconds, with jitter; 30,000 by default. */
  headCheckMs?: number | undefined
  /** The session whose preview `problems`, `on` and `settled` are about. Left out: every open preview of the project. */
  sessionId?: string | undefined
}

const HEAD_CHECK_MS = 30_000
/** Longer than an installation of packages mostly takes. */
const SETTLED_TIMEOUT_MS = 60_000

/** One project's files. Use one object for a client and project: two would share a channel. */
export class ProjectFiles {
  private readonly state = new ProjectState()
  private readonly listeners = new Set<api.Listener>()
  private readonly closing = new AbortController()
  private readonly database: Database
  private readonly reader: Reader
  private readonly writer: Writer
  private readonly preview: Preview
  private readonly random: () => number
  private follower: Follower | null = null
  private channelState: api.ChannelState = 'connecting'
  /** Resolves when the channel of the last follower was left. */
  private channelLeft: Promise<void> = Promise.resolve()

  /** `client` is the caller's own, signed in; the client takes care of its token. */
  constructor(
    private readonly client: Client,
    readonly projectId: string,
    private readonly options: Options = {},
  ) {
    const given = Object.entries(options.retry ?? {}).filter(([, value]) => value !== undefined)
    const policy: RetryPolicy = { ...DEFAULT_RETRY, ...Object.fromEntries(given) }
    const onChanged = (paths: Set<string>) => this.filesChanged(paths)
    this.random = policy.random
    this.database = new Database(client, projectId, policy, this.closing.signal)
    this.reader = new Reader(this.database, this.state, options.texts ?? 'keep', onChanged)
    this.writer = new Writer(this.database, this.state, onChanged, () => void this.follower?.catchUp())
    const { random } = this
    const { sessionId } = options
    this.preview = new Preview({ client, projectId, sessionId, random, closed: this.closing.signal })
  }

  /** The revision up to which everything is known. */
  get revision(): number {
    return this.state.table.knownRevision
  }

  /** Reads the whole project and returns its files. */
  async load(): Promise<{ revision: number; files: api.FileView[] }> {
    await this.reader.read('all')
    return { revision: this.revision, files: this.files() }
  }

  /** Reads what changed since the known revision. Happens by itself while there is a listener. */
  async refresh(): Promise<void> {
    await this.reader.read('changes')
  }

  /** What is shown at `path`; undefined where there is no file. */
  get(path: string): api.FileView | undefined {
    return this.state.view(path)
  }

  /** All files that are shown, by path. */
  files(): api.FileView[] {
    return this.paths().flatMap((path) => this.state.view(path) ?? [])
  }

  /** The paths that are shown, sorted. */
  paths(): string[] {
    return this.state.paths()
  }

  /** The newest known version of `path` in the database, of a tombstone too; 0 for a path that never existed. */
  version(path: string): number {
    return this.state.table.rows.get(path)?.version ?? 0
  }

  /** The text that is shown at `path`, read where it is not held. Throws `not_found` where there is no text file. */
  async read(path: string): Promise<string> {
    let loadedAll = false
    for (let round = 1; ; round += 1) {
      const view = this.state.view(path)
      if (view?.content !== undefined) return view.content
      if (view?.saved?.encoding !== 'utf-8') throw notFound(path)
      const { version } = view.saved
      const text = await this.reader.text(path, version)
      if (typeof text === 'string') return text
      if (text === null) throw notFound(path)
      if (loadedAll || round === MAX_ROUNDS) {
        const message = `version ${version} of ${path} is in the database's list, but cannot be read`
        throw new ProjectFilesError('unavailable', message, '', { path })
      }
      // A newer version replaced it. Where none did, the database was restored to an older state.
      await this.refresh()
      loadedAll = this.version(path) === version
      if (loadedAll) await this.load()
    }
  }

  /** The bytes that are shown at `path`, from the table or from storage. */
  async bytes(path: string, options: { signal?: AbortSignal } = {}): Promise<Uint8Array> {
    const { saved, state } = this.state.view(path) ?? {}
    if (saved?.encoding === 'base64' && state === 'saved') {
      return this.database.download(saved.contentHash, options.signal)
    }
    return utf8(await this.read(path))
  }

  /** Saves text. It is shown at once, and rolled back where the save fails. */
  async save(path: string, content: string, options: api.WriteOptions = {}): Promise<api.SaveResult> {
    const args = { p_file_path: path, p_content: content, p_file_type: options.fileType ?? null }
    return saveResult(await this.writer.one('upsert_project_file', path, { kind: 'text', content }, args, options))
  }

  /** Deletes a file. A file that is already deleted is a success; a path that never existed is `not_found`. */
  async remove(path: string, options: Omit<api.WriteOptions, 'fileType'> = {}): Promise<api.RemoveResult> {
    const args = { p_file_path: path }
    const written = await this.writer.one('delete_project_file', path, { kind: 'removed' }, args, options)
    return written.kind === 'conflict' ? written : { kind: 'removed', path, version: written.value.version }
  }

  /**
   * Gives a file another path, in one revision: there is no moment without the file. `expectedVersion` is of `from`; the
   * path `to` must be free.
   */
  async rename(from: string, to: string, options: api.WriteOptions = {}): Promise<api.BulkResult> {
    const { expectedVersion, fileType, signal } = options
    const content = await this.contentToMove(from)
    const changes: api.Change[] = [
      { ...content, path: to, expectedVersion: 0, fileType },
      { action: 'remove', path: from, expectedVersion },
    ]
    return this.bulk(changes, { signal })
  }

  /** Up to 10,000 changes in one revision, all or nothing. Each path may occur once. */
  async bulk(
    changes: readonly api.Change[],
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<api.BulkResult> {
    const written = await this.writer.bulk(changes, options.signal)
    if (written.kind === 'conflict') return written
    const files = written.value.files.map(({ path, version, hash }) => ({ path, version, contentHash: hash }))
    return { kind: 'saved', revision: written.value.revision, files }
  }

  /** Saves bytes: as text where they are UTF-8 text, else in storage. */
  async upload(
    path: string,
    bytes: Uint8Array,
    options: api.WriteOptions & { contentType?: string } = {},
  ): Promise<api.SaveResult> {
    // Before the bytes go into storage.
    checkPathLength(path)
    const text = asText(bytes)
    if (text !== null) return this.save(path, text, options)
    const { contentHash, size } = await this.store(bytes, options)
    const fileType = options.fileType ?? 'binary'
    const args = { p_file_path: path, p_file_type: fileType, p_content_hash: contentHash, p_size: size }
    const target = { kind: 'asset', contentHash, size } as const
    return saveResult(await this.writer.one('register_project_asset', path, target, args, options))
  }

  /** Puts bytes into the project's storage, for an `asset` entry of a bulk. This alone makes no file. */
  async store(bytes: Uint8Array, options: { contentType?: string; signal?: AbortSignal | undefined } = {}) {
    const contentHash = await sha256(bytes)
    await this.database.upload(contentHash, bytes, options.contentType, options.signal)
    return { contentHash, size: bytes.byteLength }
  }

  /** Drops the text of a conflict, and shows what the database has. */
  discard(path: string): void {
    const changed = new Set<string>()
    this.state.discard(path, changed)
    this.filesChanged(changed)
  }

  /**
   * Follows the project: from the first listener to the last one the state is kept at the database's head. Returns the
   * function that removes this listener.
   */
  subscribe(listener: api.Listener): () => void {
    if (this.closing.signal.aborted) throw abortedError(this.closing.signal)
    const guarded: api.Listener = (notice) => {
      try {
        listener(notice)
      } catch (error) {
        // An error in one listener must not stop the others, or a write half-way.
        console.error('a listener of project-files failed:', error)
      }
    }
    this.listeners.add(guarded)
    if (this.follower) guarded({ kind: 'channel', state: this.channelState })
    this.follower ??= this.follow()
    return () => {
      if (this.listeners.delete(guarded) && this.listeners.size === 0) void this.unfollow()
    }
  }

  /**
   * The open problems of the preview, the oldest first. The preview is followed from the first call of `problems`,
   * `verdict`, `on` or `settled` until `close`; what was open long before that is known with the next verdict.
   */
  problems(): Problem[] {
    return this.preview.problems()
  }

  /** The newest verdict of the preview; null until there is one. */
  verdict(): Verdict | null {
    return this.preview.verdict()
  }

  /** Calls `handler` for each problem that opens or is seen again, each one that ends, or each verdict. Returns the function that removes it. */
  on<Name extends keyof PreviewEvents>(event: Name, handler: (value: PreviewEvents[Name]) => void): () => void {
    return this.preview.on(event, handler)
  }

  /**
   * Waits until the preview has a final verdict about `revision` or a later one: `broken` with the problems, or `ok`. Call
   * `on` or `problems` before the edit: a final verdict is sent again after 2 and 10 seconds only.
   * Throws `timeout` where there is none in time (60 s by default), which is also so where no preview is open.
   */
  settled(
    revision: number,
    options: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<Settled> {
    return this.preview.settled(revision, options.timeoutMs ?? SETTLED_TIMEOUT_MS, options.signal)
  }

  /** Ends everything: calls that are running fail as `aborted`. */
  async close(): Promise<void> {
    this.closing.abort()
    this.listeners.clear()
    await Promise.all([this.unfollow(), this.preview.close()])
  }

  /** The content of a path as an entry of a bulk: what is shown when it resolves. */
  private async contentToMove(path: string) {
    for (;;) {
      const view = this.state.view(path)
      const { saved, state } = view ?? {}
      if (saved?.encoding === 'base64' && state === 'saved') {
        return { action: 'asset' as const, contentHash: saved.contentHash, size: saved.size }
      }
      const content = view?.content ?? (await this.read(path))
      const now = this.state.view(path)
      // Another version may have arrived while it was read.
      if (now?.saved?.version === saved?.version && (now?.content ?? content) === content) {
        return { action: 'save' as const, content }
      }
    }
  }

  private follow(): Follower {
    const { client, database, state, reader, random } = this
    return new Follower({
      client,
      database,
      state,
      reader,
      random,
      headCheckMs: this.options.headCheckMs ?? HEAD_CHECK_MS,
      notify: (notice) => this.notify(notice),
      onChanged: (paths) => this.filesChanged(paths),
      previousLeft: this.channelLeft,
    })
  }

  private async unfollow(): Promise<void> {
    const follower = this.follower
    this.follower = null
    if (follower) this.channelLeft = follower.close()
    await this.channelLeft
  }

  private filesChanged(paths: Set<string>): void {
    if (paths.size > 0) this.notify({ kind: 'files', paths: [...paths].sort() })
  }

  private notify(notice: api.Notice): void {
    if (notice.kind === 'channel') this.channelState = notice.state
    for (const listener of [...this.listeners]) listener(notice)
  }
}

function saveResult(written: Written<wire.Row>): api.SaveResult {
  if (written.kind === 'conflict') return written
  const file = existingFile(written.value)
  if (!file) {
    throw new ProjectFilesError(
      'unexpected',
      `the database answers the save of ${written.value.path} with a deleted row`,
    )
  }
  return { kind: 'saved', file }
}

function notFound(path: string): ProjectFilesError {
  return new ProjectFilesError('not_found', `there is no text file at ${path}`, '', { path })
}
