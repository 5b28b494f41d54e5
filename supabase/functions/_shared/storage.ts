import { Answered, ask } from './ask.ts'
import { bearerOf } from './database.ts'
import { unavailable } from './refusal.ts'
import type { Settings } from './settings.ts'

/** One object of a listing; `name` is relative to the listed folder. */
export interface Stored {
  name: string
  created_at: string | null
}

/** Storage answers 400 for most refusals, the real status in the body. */
function statusOf(error: unknown): number | null {
  if (!(error instanceof Answered)) return null
  try {
    return Number(JSON.parse(error.body).statusCode) || error.status
  } catch {
    return error.status
  }
}

/** Storage's objects, with the service's right. */
export class Storage {
  readonly #settings: Settings

  constructor(settings: Settings) {
    this.#settings = settings
  }

  /** Objects of a folder, the newest first, at most 100. */
  async list(bucket: string, folder: string): Promise<Stored[]> {
    const body = JSON.stringify({
      prefix: folder,
      limit: 100,
      offset: 0,
      sortBy: { column: 'created_at', order: 'desc' },
    })
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/list/${bucket}`
    return await this.#ask(
      `listing ${bucket}/${folder}`,
      () => [url, this.#init('POST', body)],
      (r) => r.json(),
    )
  }

  /** Uploads the pieces, made anew for each try, as one object. False where an object of that name is there already. */
  async upload(bucket: string, name: string, pieces: () => Iterable<Uint8Array>, type: string): Promise<boolean> {
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/${bucket}/${encoded(name)}`
    try {
      await this.#ask(
        `uploading ${bucket}/${name}`,
        () => [
          url,
          {
            method: 'POST',
            // A stream of the pieces: joined first, a snapshot would be in memory twice.
            body: ReadableStream.from(pieces()),
            headers: { ...this.#headers(), 'content-type': type, 'x-upsert': 'false' },
          },
        ],
        (r) => r.body?.cancel() ?? Promise.resolve(),
        this.#settings.patience.longTryMs,
      )
      return true
    } catch (error) {
      if (statusOf((error as Error).cause) === 409) return false
      throw error
    }
  }

  /** The object's bytes, or null where it is not there or larger than `limit` bytes. */
  async download(bucket: string, name: string, limit: number): Promise<Uint8Array | null> {
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/authenticated/${bucket}/${encoded(name)}`
    try {
      return await this.#ask(
        `reading ${bucket}/${name}`,
        () => [url, { headers: this.#headers() }],
        (r) => bounded(r, limit),
        this.#settings.patience.longTryMs,
      )
    } catch (error) {
      if (statusOf((error as Error).cause) === 404) return null
      throw error
    }
  }

  /** A URL at which whoever has it may read the object for so many seconds; null where there is no such object. */
  async sign(bucket: string, name: string, seconds: number): Promise<string | null> {
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/sign/${bucket}/${encoded(name)}`
    const init = this.#init('POST', JSON.stringify({ expiresIn: seconds }))
    try {
      const { signedURL } = await this.#ask<{ signedURL: string }>(
        `signing ${bucket}/${name}`,
        () => [url, init],
        (r) => r.json(),
      )
      return `${this.#settings.supabaseUrl}/storage/v1${signedURL}`
    } catch (error) {
      if (statusOf((error as Error).cause) === 404) return null
      throw error
    }
  }

  /** Removes objects; those that are gone already are no fault. */
  async remove(bucket: string, names: string[]): Promise<void> {
    if (names.length === 0) return
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/${bucket}`
    const init = this.#init('DELETE', JSON.stringify({ prefixes: names }))
    await this.#ask(
      `removing from ${bucket}`,
      () => [url, init],
      (r) => r.body?.cancel() ?? Promise.resolve(),
    )
  }

  async #ask<T>(
    operation: string,
    request: () => [string, RequestInit],
    read: (response: Response) => Promise<T>,
    timeout?: number,
  ): Promise<T> {
    try {
      return await ask({ operation, timeout, patience: this.#settings.patience }, request, read)
    } catch (error) {
      throw unavailable('storage', error)
    }
  }

  #init(method: string, body: string): RequestInit {
    return { method, body, headers: { ...this.#headers(), 'content-type': 'application/json' } }
  }

  #headers(): Record<string, string> {
    const key = this.#settings.serviceKey.reveal()
    return { apikey: key, ...bearerOf(key) }
  }
}

/** The body, read no further than its limit; null where there is more. */
async function bounded(response: Response, limit: number): Promise<Uint8Array | null> {
  const said = Number(response.headers.get('content-length') ?? 0)
  if (said > limit) {
    await response.body?.cancel()
    return null
  }
  // Without a length it is collected, and cut off past the limit.
  let bytes = new Uint8Array(said > 0 ? said : 64 << 10)
  let read = 0
  for await (const piece of response.body ?? []) {
    if (read + piece.length > limit) return null
    if (read + piece.length > bytes.length) {
      const larger = new Uint8Array(Math.min(limit, 2 * (read + piece.length)))
      larger.set(bytes.subarray(0, read))
      bytes = larger
    }
    bytes.set(piece, read)
    read += piece.length
  }
  return bytes.subarray(0, read)
}

function encoded(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/')
}
