import { createClient, type RealtimeChannel, type SupabaseClient } from '@supabase/supabase-js'
import type { Session } from './feed'

/** The newest row of a path. */
export interface Row {
  file_path: string
  version: number
  revision: number
  content_hash: string | null
  size: number
  encoding: 'utf-8' | 'base64'
  is_deleted: boolean
}

/** Somebody else's save came first. */
export class Conflict extends Error {
  constructor(readonly current: number) {
    super('changed elsewhere')
  }
}

export type Live = 'connecting' | 'live' | 'lost'

export interface Watcher {
  /** These paths have other rows than before. */
  changed(paths: string[]): void
  live(state: Live): void
  /** The backend told of a version, at this time by this machine's clock. */
  told(path: string, version: number, sentAt: number): void
  /** Reading the list failed or works again. */
  reading(error: string | null): void
}

interface Told {
  file_path?: string
  version?: number
  timestamp?: string
  files?: { file_path: string; version?: number }[]
}

const BUCKET = 'project-assets'
const RETRY_MS = 1000
/** A list that no event keeps true is looked at again so often: events can be lost. */
const CHECK_MS = 10_000

/** The project's list of files, kept equal to the database, and what changes it. */
export class Project {
  readonly rows = new Map<string, Row>()
  private revision = 0
  private readonly client: SupabaseClient
  private readonly channel: RealtimeChannel
  private reading: Promise<void> | null = null
  private again = false
  closed = false
  private readonly timer: ReturnType<typeof setInterval>

  constructor(
    private readonly session: Session,
    private readonly watcher: Watcher,
  ) {
    this.client = createClient(location.origin, session.anon_key, {
      accessToken: async () => session.editor_token,
      realtime: { reconnectAfterMs: (tries: number) => Math.min(250 * 2 ** tries, 2000) },
    })
    this.channel = this.client.channel(`project:${session.project_id}`, { config: { private: true } })
    this.channel.on('broadcast', { event: '*' }, ({ payload }) => this.hear(payload as Told))
    // The client joins its first channel without the token unless it was asked for it before.
    void this.client.realtime.setAuth().then(() => this.subscribe())
    this.timer = setInterval(() => void this.catchUp(), CHECK_MS)
    void this.catchUp()
  }

  private subscribe(): void {
    if (this.closed) return
    this.channel.subscribe((status) => {
      if (this.closed) return
      this.watcher.live(status === 'SUBSCRIBED' ? 'live' : 'lost')
      if (status === 'SUBSCRIBED') void this.catchUp()
    })
  }

  close(): void {
    this.closed = true
    clearInterval(this.timer)
    void this.client.removeAllChannels()
    this.client.realtime.disconnect()
  }

  /** The live row of `path`. */
  row(path: string): Row | undefined {
    const row = this.rows.get(path)
    return row?.is_deleted ? undefined : row
  }

  /** The live paths, sorted. */
  paths(): string[] {
    return [...this.rows.values()]
      .filter((row) => !row.is_deleted)
      .map((row) => row.file_path)
      .sort()
  }

  private hear(told: Told): void {
    const at = told.timestamp ? Date.parse(told.timestamp) : Date.now()
    const files = told.files ?? (told.file_path ? [{ file_path: told.file_path, version: told.version }] : [])
    for (const file of files) if (file.version) this.watcher.told(file.file_path, file.version, at)
    void this.catchUp()
  }

  /** Reads what changed since the revision that is known. One read at a time; a wish that comes meanwhile is one more. */
  async catchUp(): Promise<void> {
    this.again = true
    this.reading ??= this.readAll().finally(() => (this.reading = null))
    return this.reading
  }

  private async readAll(): Promise<void> {
    while (this.again && !this.closed) {
      this.again = false
      try {
        const changed = await this.readOnce()
        if (this.closed) return
        this.watcher.reading(null)
        if (changed.length) this.watcher.changed(changed)
      } catch (error) {
        if (this.closed) return
        this.watcher.reading(said(error))
        setTimeout(() => void this.catchUp(), RETRY_MS)
        return
      }
    }
  }

  private async readOnce(): Promise<string[]> {
    const changed: string[] = []
    for (let since = this.revision; ; ) {
      const page = await this.rpc('list_project_changes', { since_revision: since, with_content: false })
      if (page.reset) {
        changed.push(...this.rows.keys())
        this.rows.clear()
      }
      for (const row of page.files as Row[]) {
        if (this.rows.get(row.file_path)?.version !== row.version) changed.push(row.file_path)
        this.rows.set(row.file_path, row)
        since = row.revision
      }
      if (page.complete) {
        this.revision = page.head_revision
        return changed
      }
    }
  }

  /** A text file's content. */
  async text(row: Row): Promise<string> {
    const file = await this.rpc('get_project_file', { p_file_path: row.file_path, p_version: row.version })
    return file.content ?? ''
  }

  /** A file's bytes, wherever they lie. */
  async blob(row: Row): Promise<Blob> {
    if (row.encoding === 'utf-8') return new Blob([await this.text(row)])
    const { data, error } = await this.client.storage.from(BUCKET).download(this.object(row.content_hash ?? ''))
    if (error) throw error
    return data
  }

  /** Saves text and gives its version. Throws [`Conflict`] where the file is not at `expected`. */
  async save(path: string, text: string, expected: number): Promise<number> {
    const args = { p_file_path: path, p_content: text, p_file_type: kind(path), expected_version: expected }
    const row = await this.rpc('upsert_project_file', args)
    return row.version
  }

  /** The version that a save of a file that is not there has to expect. */
  absent(path: string): number {
    return this.rows.get(path)?.version ?? 0
  }

  async remove(path: string): Promise<void> {
    await this.rpc('delete_project_file', { p_file_path: path, expected_version: this.row(path)?.version ?? null })
  }

  /** One change: there is no moment without the file. */
  async rename(from: string, to: string): Promise<void> {
    const row = this.row(from)
    if (!row) throw new Error(`${from} is gone`)
    const content =
      row.encoding === 'utf-8' ? { content: await this.text(row) } : { content_hash: row.content_hash, size: row.size }
    const files = [
      { action: 'update', file_path: to, file_type: kind(to), expected_version: this.absent(to), ...content },
      { action: 'delete', file_path: from, expected_version: row.version },
    ]
    await this.rpc('bulk_upsert_project_files', { files })
  }

  /** Puts a file of any kind at `path`, in place of one that is there. */
  async upload(path: string, file: Blob): Promise<void> {
    const content = await file.arrayBuffer()
    const expected = this.absent(path)
    const text = asText(content)
    if (text !== null) return void (await this.save(path, text, expected))
    const hash = await sha256(content)
    const stored = await this.client.storage.from(BUCKET).upload(this.object(hash), content, { upsert: true })
    if (stored.error) throw stored.error
    await this.rpc('register_project_asset', {
      p_file_path: path,
      p_file_type: kind(path),
      p_content_hash: hash,
      p_size: content.byteLength,
      expected_version: expected,
    })
  }

  private object(hash: string): string {
    return `${this.session.project_id}/${hash}`
  }

  // The functions have no generated types: their answers are the contract's.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  private async rpc(name: string, args: Record<string, unknown>): Promise<any> {
    const { data, error } = await this.client.rpc(name, { project_uuid: this.session.project_id, ...args })
    if (error?.code === 'PT409') throw new Conflict(JSON.parse(error.details).current_version)
    if (error) throw error
    return data
  }
}

/** What an error says, in one line. */
export function said(error: unknown): string {
  const message = error instanceof Error ? error.message : (error as { message?: string } | null)?.message
  return message || String(error)
}

function kind(path: string): string {
  return /\.([^./]+)$/.exec(path)?.[1] ?? 'text'
}

/** The text that the bytes are, or null: a table's text holds UTF-8 without NUL. */
function asText(content: ArrayBuffer): string | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content)
    return text.includes('\0') ? null : text
  } catch {
    return null
  }
}

async function sha256(content: ArrayBuffer): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', content))
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
