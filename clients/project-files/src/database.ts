import type { SupabaseClient } from '@supabase/supabase-js'
import { sha256 } from './assets.js'
import { ProjectFilesError, understood, VersionConflict } from './errors.js'
import { type RetryPolicy, retrying } from './retry.js'
import * as wire from './wire.js'

/** What is used of the official client. */
// biome-ignore lint/suspicious/noExplicitAny: a caller's client may be typed for any schema
export type Client = Pick<SupabaseClient<any, any, any>, 'rpc' | 'storage' | 'channel' | 'removeChannel' | 'realtime'>

/** What a write came to. `unsure`: an earlier try of it may have taken effect. */
export type Written<T> = { kind: 'done'; value: T } | { kind: 'conflict'; conflict: VersionConflict; unsure: boolean }

const BUCKET = 'project-assets'

/** The database's functions and storage, each call repeated as the policy says. */
export class Database {
  constructor(
    private readonly client: Client,
    readonly projectId: string,
    private readonly policy: RetryPolicy,
    /** Ends every call. */
    private readonly closed: AbortSignal,
  ) {}

  async changes(since: number, withContent: boolean): Promise<wire.Page> {
    return wire.page(await this.call('list_project_changes', { since_revision: since, with_content: withContent }))
  }

  async head(): Promise<number> {
    return wire.head(await this.call('project_head', {}))
  }

  /** One version's text, null for what lies in storage; `not_found` where that version is gone. */
  async file(path: string, version: number): Promise<{ content: string | null; hash: string }> {
    return wire.file(await this.call('get_project_file', { p_file_path: path, p_version: version }))
  }

  /** Calls a function that writes. Refusals but conflicts are thrown. */
  async write<T>(
    name: string,
    args: Record<string, unknown>,
    read: (answer: unknown) => T,
    signal?: AbortSignal,
  ): Promise<Written<T>> {
    return this.retry(async (limit, unsure) => {
      try {
        return { kind: 'done', value: read(await this.once(name, args, limit)) }
      } catch (error) {
        if (error instanceof VersionConflict) return { kind: 'conflict', conflict: error, unsure }
        throw error
      }
    }, signal)
  }

  /** The bytes of a stored object, which are checked against their hash. */
  async download(hash: string, signal?: AbortSignal): Promise<Uint8Array> {
    return this.retry(async (limit) => {
      const { data, error } = await this.client.storage.from(BUCKET).download(this.object(hash), {}, { signal: limit })
      if (error) throw storageError(error, 'download')
      const bytes = new Uint8Array(await data.arrayBuffer())
      if ((await sha256(bytes)) !== hash)
        throw new ProjectFilesError('unavailable', `the object ${hash} came with other bytes`)
      return bytes
    }, signal)
  }

  /** Puts bytes into storage by their hash. Bytes that are there already are left: a hash names one content. */
  async upload(hash: string, bytes: Uint8Array, contentType: string | undefined, signal?: AbortSignal): Promise<void> {
    await this.retry(async () => {
      const body = new Blob([bytes as Uint8Array<ArrayBuffer>], contentType ? { type: contentType } : {})
      const { error } = await this.client.storage.from(BUCKET).upload(this.object(hash), body)
      if (error && !exists(error)) throw storageError(error, 'upload')
    }, signal)
  }

  private call(name: string, args: Record<string, unknown>): Promise<unknown> {
    return this.retry((limit) => this.once(name, args, limit))
  }

  private retry<T>(once: (limit: AbortSignal, unsure: boolean) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return retrying(once, this.policy, signal ? AbortSignal.any([signal, this.closed]) : this.closed)
  }

  private async once(name: string, args: Record<string, unknown>, limit: AbortSignal): Promise<unknown> {
    const { data, error, status } = await this.client
      .rpc(name, { project_uuid: this.projectId, ...args })
      .abortSignal(limit)
    if (error) throw understood({ status, code: error.code, message: error.message, details: error.details }, name)
    return data
  }

  private object(hash: string): string {
    return `${this.projectId}/${hash}`
  }
}

interface StorageSaid {
  message: string
  status?: number | undefined
  statusCode?: string | undefined
}

/** Storage answers 400 to most, and says in the body what it means. */
function storageError(error: StorageSaid, operation: string): Error {
  const said = Number(error.statusCode)
  const status = Number.isInteger(said) && said >= 400 ? said : (error.status ?? 0)
  const found = understood({ status, message: error.message }, `storage ${operation}`)
  return found
}

function exists(error: StorageSaid): boolean {
  return error.statusCode === '409' || error.statusCode === 'Duplicate' || /already exists/i.test(error.message)
}
