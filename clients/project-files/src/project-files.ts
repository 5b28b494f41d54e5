import { asText, sha256, utf8 } from './assets.js'
import { type Client, Database, type Written as Sent } from './database.js'
import { ProjectFilesError } from './errors.js'
import { Follower } from './follower.js'
import { Queue } from './queue.js'
import { Reader, ROUNDS } from './reader.js'
import { aborted, RETRY, type RetryPolicy } from './retry.js'
import { type Edit, live, ProjectState, type Wish } from './state.js'
import type * as api from './types.js'
import * as wire from './wire.js'
import { bulkEntry, tookEffect, type Written, wishOf, writtenRow } from './writes.js'

export interface Options {
  /** `keep` (default): every text is held here. `ask`: a text is read when [`ProjectFiles.read`] asks for it. */
  texts?: 'keep' | 'ask' | undefined
  retry?: Partial<RetryPolicy> | undefined
  /** How often the head is asked for while somebody listens, in milliseconds, with jitter; 30,000 by default. */
  headCheckMs?: number | undefined
}

const HEAD_CHECK_MS = 30_000

/** One project's files. One object for a client and project: two would share a channel. */
export class ProjectFiles {
  private readonly state = new ProjectState()
  private readonly queue = new Queue()
  private readonly listeners = new Set<api.Listener>()
  private readonly end = new AbortController()
  private readonly database: Database
  private readonly reader: Reader
  private readonly random: () => number
  private follower: Follower | null = null
  private live: api.Live = 'connecting'
  /** The channel of before is left. */
  private left: Promise<void> = Promise.resolve()

  /** `client` is the caller's own, signed in; its token is the client's business. */
  constructor(
    private readonly client: Client,
    readonly projectId: string,
    private readonly options: Options = {},
  ) {
    const given = Object.entries(options.retry ?? {}).filter(([, value]) => value !== undefined)
    const policy: RetryPolicy = { ...RETRY, ...Object.fromEntries(given) }
    this.random = policy.random
    this.database = new Database(client, projectId, policy, this.end.signal)
    const changed = (paths: Set<string>) => this.changed(paths)
    this.reader = new Reader(this.database, this.state, options.texts !== 'ask', changed)
  }

  /** The revision up to which everything is known. */
  get revision(): number {
    return this.state.table.known
  }

  /** Reads the whole project, and gives what it shows. */
  async load(): Promise<{ revision: number; files: api.FileView[] }> {
    await this.reader.read('all')
    return { revision: this.revision, files: this.files() }
  }

  /** Reads what changed since. While somebody listens this happens by itself. */
  async refresh(): Promise<void> {
    await this.reader.read('changes')
  }

  /** What is shown at `path`; undefined where nothing is. */
  get(path: string): api.FileView | undefined {
    return this.state.view(path)
  }

  /** All that is shown, by path. */
  files(): api.FileView[] {
    return this.paths().flatMap((path) => this.state.view(path) ?? [])
  }

  /** The paths that are shown, sorted. */
  paths(): string[] {
    return this.state.paths()
  }

  /**
   * The version that a write of `path` builds on where it names none: the database's newest as far as is known, a
   * tombstone's too; 0 for a path that never was.
   */
  version(path: string): number {
    return this.state.table.rows.get(path)?.version ?? 0
  }

  /** The text that is shown at `path`, read where it is not here yet. `not_found` where there is none, or it is binary. */
  async read(path: string): Promise<string> {
    let whole = false
    for (let round = 1; ; round += 1) {
      const view = this.state.view(path)
      if (view?.content !== undefined) return view.content
      if (view?.saved?.encoding !== 'utf-8') throw missing(path, 'text')
      const { version } = view.saved
      const text = await this.reader.text(path, version)
      if (typeof text === 'string') return text
      if (text === null) throw missing(path, 'text')
      if (whole || round === ROUNDS) {
        const message = `version ${version} of ${path}, which the database lists, is not to be had`
        throw new ProjectFilesError('unavailable', message, '', { path })
      }
      // A newer version took its place; where none did, the database was put back to an older state.
      await this.refresh()
      whole = this.version(path) === version
      if (whole) await this.load()
    }
  }

  /** The bytes that are shown at `path`, wherever they lie. */
  async bytes(path: string, options: { signal?: AbortSignal } = {}): Promise<Uint8Array> {
    const { saved, state } = this.state.view(path) ?? {}
    if (saved?.encoding === 'base64' && state === 'saved')
      return this.database.download(saved.contentHash, options.signal)
    return utf8(await this.read(path))
  }

  /** Saves text. It is shown at once, and goes back where the save fails. */
  async save(path: string, content: string, options: api.WriteOptions = {}): Promise<api.SaveResult> {
    const args = { p_file_path: path, p_content: content, p_file_type: options.fileType ?? null }
    return saved(await this.one('upsert_project_file', path, { kind: 'text', content }, args, options))
  }

  /** Deletes a file. One that is gone already is no failure; one that never was is `not_found`. */
  async remove(path: string, options: Omit<api.WriteOptions, 'fileType'> = {}): Promise<api.RemoveResult> {
    const written = await this.one('delete_project_file', path, { kind: 'removed' }, { p_file_path: path }, options)
    return written.kind === 'conflict' ? written : { kind: 'removed', path, version: written.row.version }
  }

  /**
   * Gives a file another path, in one change: there is no moment without it. `expectedVersion` is of `from`; the path `to`
   * has to be free.
   */
  async rename(from: string, to: string, options: api.WriteOptions = {}): Promise<api.BulkResult> {
    const { expectedVersion, fileType, signal } = options
    const content = await this.movable(from)
    const changes: api.Change[] = [
      { ...content, path: to, expectedVersion: 0, fileType },
      { action: 'remove', path: from, expectedVersion },
    ]
    return this.bulk(changes, { signal })
  }

  /** Up to 10,000 changes in one revision, all or nothing. Each path may stand in it once. */
  async bulk(
    changes: readonly api.Change[],
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<api.BulkResult> {
    const wishes = new Map(changes.map((change) => [change.path, wishOf(change)]))
    const expected = new Map<string, number | null>()
    for (const { path, expectedVersion } of changes) {
      if (expectedVersion !== undefined) expected.set(path, expectedVersion)
    }
    const done = await this.write(
      wishes,
      expected,
      options.signal,
      async (edit) => {
        const files = changes.map((change) => bulkEntry(change, this.state.expected(edit, change.path)))
        const written = await this.database.write('bulk_upsert_project_files', { files }, wire.bulk, options.signal)
        return this.judged(edit, written, (files) => ({ revision: 0, files }))
      },
      ({ revision, files }) => files.map((file) => writtenRow(file, wishes.get(file.path), revision)),
    )
    if (done.kind === 'conflict') return done
    const files = done.value.files.map(({ path, version, hash }) => ({ path, version, contentHash: hash }))
    return { kind: 'saved', revision: done.value.revision, files }
  }

  /** Saves bytes: as text where they are text, else by [`ProjectFiles.store`]. */
  async upload(
    path: string,
    bytes: Uint8Array,
    options: api.WriteOptions & { contentType?: string } = {},
  ): Promise<api.SaveResult> {
    const text = asText(bytes)
    if (text !== null) return this.save(path, text, options)
    const { contentHash, size } = await this.store(bytes, options)
    const args = {
      p_file_path: path,
      p_file_type: options.fileType ?? 'binary',
      p_content_hash: contentHash,
      p_size: size,
    }
    return saved(await this.one('register_project_asset', path, { kind: 'asset', contentHash, size }, args, options))
  }

  /** Puts bytes into the project's storage, for an `asset` of a bulk. They are no file yet. */
  async store(bytes: Uint8Array, options: { contentType?: string; signal?: AbortSignal | undefined } = {}) {
    const contentHash = await sha256(bytes)
    await this.database.upload(contentHash, bytes, options.contentType, options.signal)
    return { contentHash, size: bytes.byteLength }
  }

  /** Lets the text of a conflict go, and shows what the database has. */
  discard(path: string): void {
    const changed = new Set<string>()
    this.state.discard(path, changed)
    this.changed(changed)
  }

  /**
   * Follows the project: from the first listener on the state is kept at the database's head, until the last one is gone.
   * Gives what ends it for this listener.
   */
  subscribe(listener: api.Listener): () => void {
    if (this.end.signal.aborted) throw aborted(this.end.signal)
    const own: api.Listener = (notice) => {
      try {
        listener(notice)
      } catch (error) {
        // A listener's fault is nobody else's, and stops no write half-way.
        console.error('a listener of project-files failed:', error)
      }
    }
    this.listeners.add(own)
    if (this.follower) own({ kind: 'live', state: this.live })
    this.follower ??= this.follow()
    return () => {
      if (this.listeners.delete(own) && this.listeners.size === 0) void this.unfollow()
    }
  }

  /** Ends everything: calls on their way fail as `aborted`. */
  async close(): Promise<void> {
    this.end.abort()
    this.listeners.clear()
    await this.unfollow()
  }

  /** What is at a path, as a bulk puts it elsewhere: what is shown when it resolves. */
  private async movable(path: string) {
    for (;;) {
      const view = this.state.view(path)
      const { saved, state } = view ?? {}
      if (saved?.encoding === 'base64' && state === 'saved') {
        return { action: 'asset' as const, contentHash: saved.contentHash, size: saved.size }
      }
      const content = view?.content ?? (await this.read(path))
      const now = this.state.view(path)
      // While it was read another version may have come.
      if (now?.saved?.version === saved?.version && (now?.content ?? content) === content)
        return { action: 'save' as const, content }
    }
  }

  private follow(): Follower {
    const { client, database, state, reader, random } = this
    const often = this.options.headCheckMs ?? HEAD_CHECK_MS
    const changed = (paths: Set<string>) => this.changed(paths)
    return new Follower(
      client,
      database,
      state,
      reader,
      often,
      random,
      (notice) => this.tell(notice),
      changed,
      this.left,
    )
  }

  private async unfollow(): Promise<void> {
    const follower = this.follower
    this.follower = null
    if (follower) this.left = follower.close()
    await this.left
  }

  /** A write of a single path. */
  private async one(
    name: string,
    path: string,
    wish: Wish,
    args: Record<string, unknown>,
    options: api.WriteOptions,
  ): Promise<{ kind: 'done'; row: wire.Row } | api.Conflict> {
    const { expectedVersion, signal } = options
    const expected = new Map(expectedVersion === undefined ? [] : [[path, expectedVersion]])
    const done = await this.write(
      new Map([[path, wish]]),
      expected,
      signal,
      async (edit) => {
        const base = this.state.expected(edit, path)
        const written = await this.database.write(name, { ...args, expected_version: base }, wire.row, signal)
        return this.judged(edit, written, (files) => writtenRow({ path, version: 0, hash: null, ...files[0] }, wish, 0))
      },
      (row) => [row],
    )
    return done.kind === 'conflict' ? done : { kind: 'done', row: done.value }
  }

  /** Shows an edit, waits for its turn, sends it, and takes in what came of it. */
  private async write<T>(
    wishes: ReadonlyMap<string, Wish>,
    expected: ReadonlyMap<string, number | null>,
    signal: AbortSignal | undefined,
    send: (edit: Edit) => Promise<Sent<T>>,
    rows: (value: T) => wire.Row[],
  ): Promise<{ kind: 'done'; value: T } | api.Conflict> {
    const changed = new Set<string>()
    const edit = this.state.begin(wishes, expected, changed)
    this.changed(changed)
    const settled = new Set<string>()
    let current = false
    try {
      const written = await this.queue.run(
        wishes.keys(),
        () => {
          if (signal?.aborted) throw aborted(signal)
          return send(edit)
        },
        signal,
      )
      if (written.kind === 'conflict') {
        const { path, expectedVersion, currentVersion } = written.conflict
        this.state.conflict(edit, path, expectedVersion, currentVersion, settled)
        return { kind: 'conflict', path, expectedVersion, currentVersion }
      }
      current = this.state.confirm(edit, rows(written.value), settled)
      return written
    } catch (error) {
      this.state.rollBack(edit, settled)
      throw error
    } finally {
      this.changed(settled)
      // A follower hears of what it wrote; what was met, or came of a call without an answer, is read.
      if (!current) void this.follower?.catchUp()
    }
  }

  /** A conflict with what an earlier try of the same write made, whose answer was lost, is none. */
  private async judged<T>(edit: Edit, written: Sent<T>, value: (made: Written[]) => T): Promise<Sent<T>> {
    if (written.kind === 'done' || !written.unsure) return written
    // Where the path had to be free, a tombstone's version is what was counted on from.
    const expected = (path: string) => {
      const version = this.state.expected(edit, path)
      return version === 0 ? (edit.began.get(path) ?? 0) : version
    }
    const took = await tookEffect(edit.wishes, expected, this.database)
    if (took.kind === 'yes') return { kind: 'done', value: value(took.made) }
    if (took.kind === 'no') return written
    const { path } = written.conflict
    const message = `an answer was lost, and now ${path} is another's: the write may have taken effect before`
    throw new ProjectFilesError('unavailable', message, '', { path, cause: written.conflict })
  }

  private changed(paths: Set<string>): void {
    if (paths.size > 0) this.tell({ kind: 'files', paths: [...paths].sort() })
  }

  private tell(notice: api.Notice): void {
    if (notice.kind === 'live') this.live = notice.state
    for (const listener of [...this.listeners]) listener(notice)
  }
}

function saved(written: { kind: 'done'; row: wire.Row } | api.Conflict): api.SaveResult {
  if (written.kind === 'conflict') return written
  const file = live(written.row)
  if (!file)
    throw new ProjectFilesError('unexpected', `the database gives a deleted row for the save of ${written.row.path}`)
  return { kind: 'saved', file }
}

function missing(path: string, what: string): ProjectFilesError {
  return new ProjectFilesError('not_found', `there is no ${what} at ${path}`, '', { path })
}
