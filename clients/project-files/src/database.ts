import type { SupabaseClient } from '@supabase/supabase-js'
import { sha256 } from './assets.js'
import { errorFrom, ProjectFilesError, VersionConflict } from './errors.js'
import { type RetryPolicy, withRetries } from './retry.js'
import * as wire from './wire.js'

/** The parts of the official client that are used. */
// biome-ignore lint/suspicious/noExplicitAny: a caller's client may be typed for any schema
export type Client = Pick<SupabaseClient<any, any, any>, 'rpc' | 'storage' | 'channel' | 'removeChannel' | 'realtime'>

/** How a write ended. `mayHaveTakenEffect`: the answer of an earlier attempt of the same write was lost. */
export type WriteOutcome<T> =
  | { kind: 'done'; value: T }
  | { kind: 'conflict'; conflict: VersionConflict; mayHaveTakenEffect: boolean }

const BUCKET = 'project-assets'

/** The database's functions and storage. Each call is repeated as the policy says. */
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

  /** One version's text, null for a file in storage. Throws `not_found` where that version is no longer kept. */
  async file(path: string, version: number): Promise<{ content: string | null; hash: string }> {
    return wire.file(await this.call('get_project_file', { p_file_path: path, p_version: version }))
  }

  /** Calls a function that writes. A conflict is an outcome; other refusals are thrown. */
  async write<T>(
    name: string,
    args: Record<string, unknown>,
    read: (answer: unknown) => T,
    signal?: AbortSignal,
  ): Promise<WriteOutcome<T>> {
    return this.retry(async (limit, mayHaveTakenEffect) => {
      try {
        return { kind: 'done', value: read(await this.callOnce(name, args, limit)) }
      } catch (error) {
        if (error instanceof VersionConflict) return { kind: 'conflict', conflict: error, mayHaveTakenEffect }
        throw error
      }
    }, signal)
  }

  /** The bytes of a stored object, checked against their hash. */
  async download(hash: string, signal?: AbortSignal): Promise<Uint8Array> {
    return this.retry(async (limit) => {
      const { data, error } = await this.client.storage
        .from(BUCKET)
        .download(this.objectName(hash), {}, { signal: limit })
      if (error) throw storageError(error, 'download')
      const bytes = new Uint8Array(await data.arrayBuffer())
      if ((await sha256(bytes)) !== hash) {
        throw new ProjectFilesError(
          'unavailable',
          `storage download: the bytes of object ${hash} do not match its hash`,
        )
      }
      return bytes
    }, signal)
  }

  /** Puts bytes into storage under their hash. An existing object is left as it is: a hash names one content. */
  async upload(hash: string, bytes: Uint8Array, contentType: string | undefined, signal?: AbortSignal): Promise<void> {
    await this.retry(async () => {
      const body = new Blob([bytes as Uint8Array<ArrayBuffer>], contentType ? { type: contentType } : {})
      const { error } = await this.client.storage.from(BUCKET).upload(this.objectName(hash), body)
      if (error && !isAlreadyThere(error)) throw storageError(error, 'upload')
    }, signal)
  }

  private call(name: string, args: Record<string, unknown>): Promise<unknown> {
    return this.retry((limit) => this.callOnce(name, args, limit))
  }

  private retry<T>(
    attempt: (limit: AbortSignal, mayHaveTakenEffect: boolean) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    return withRetries(attempt, this.policy, signal ? AbortSignal.any([signal, this.closed]) : this.closed)
  }

  private async callOnce(name: string, args: Record<string, unknown>, limit: AbortSignal): Promise<unknown> {
    const { data, error, status } = await this.client
      .rpc(name, { project_uuid: this.projectId, ...args })
      .abortSignal(limit)
    if (error) throw errorFrom({ status, code: error.code, message: error.message, details: error.details }, name)
    return data
  }

  private objectName(hash: string): string {
    return `${this.projectId}/${hash}`
  }
}

interface StorageRefusal {
  message: string
  status?: number | undefined
  statusCode?: string | undefined
}

/** Storage answers most refusals with 400; the status that it means is in the body. */
function storageError(error: StorageRefusal, operation: string): Error {
  const statusCode = Number(error.statusCode)
  const status = Number.isInteger(statusCode) && statusCode >= 400 ? statusCode : (error.status ?? 0)
  return errorFrom({ status, message: error.message }, `storage ${operation}`)
}

function isAlreadyThere(error: StorageRefusal): boolean {
  return error.statusCode === '409' || error.statusCode === 'Duplicate' || /already exists/i.test(error.message)
}
