import { type Listener, ProjectFiles, type SaveResult } from '@preview-agent/project-files'
import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import type { Session } from './feed'

/** Events can be lost, so the head is requested this often. Milliseconds. */
const HEAD_CHECK_MS = 10_000
/** Attempts of one call. A save that failed is repeated by `OpenFile` as well. */
const ATTEMPTS = 3

/** The project during one run of the program: its files, and the newest revision that this page has seen or made. */
export class ProjectSession {
  readonly files: ProjectFiles
  closed = false
  private readonly client: SupabaseClient
  private savedRevision = 0

  constructor(session: Session, listener: Listener) {
    this.client = createClient(location.origin, session.anon_key, {
      accessToken: async () => session.editor_token,
      realtime: { reconnectAfterMs: (attempt: number) => Math.min(250 * 2 ** attempt, 2000) },
    })
    this.files = new ProjectFiles(this.client, session.project_id, {
      texts: 'ask',
      headCheckMs: HEAD_CHECK_MS,
      retry: { attempts: ATTEMPTS },
    })
    this.files.subscribe(listener)
  }

  /** The newest revision that this page knows: what it has read, received or saved. */
  get newestRevision(): number {
    return Math.max(this.savedRevision, this.files.revision)
  }

  /** Saves text; see `ProjectFiles.save`. */
  async save(path: string, text: string, expectedVersion: number): Promise<SaveResult> {
    const result = await this.files.save(path, text, { expectedVersion, fileType: fileType(path) })
    if (result.kind === 'saved') this.savedRevision = Math.max(this.savedRevision, result.file.revision)
    return result
  }

  close(): void {
    this.closed = true
    void this.files
      .close()
      .then(() => this.client.removeAllChannels())
      .then(() => this.client.realtime.disconnect())
  }
}

/** The database's `file_type`: the ending of the name. */
export function fileType(path: string): string {
  return /\.([^./]+)$/.exec(path)?.[1] ?? 'text'
}
