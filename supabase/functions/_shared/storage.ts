import { bearerOf } from './database.ts'
import { HttpError, request } from './http.ts'
import { unavailable } from './refusal.ts'
import type { Settings } from './settings.ts'

/** One object of a listing; `name` is relative to the listed folder. */
export interface Stored {
  name: string
  created_at: string | null
}

/** The status of a refusal. Storage answers most refusals with 400; the real status is in the body. */
function statusOf(error: unknown): number | null {
  if (!(error instanceof HttpError)) return null
  try {
    return Number(JSON.parse(error.body).statusCode) || error.status
  } catch {
    return error.status
  }
}

/** The objects of storage, accessed with the service's key. */
export class Storage {
  readonly #settings: Settings

  constructor(settings: Settings) {
    this.#settings = settings
  }

  /** The newest 100 objects of a folder, the newest first. */
  async list(bucket: string, folder: string): Promise<Stored[]> {
    const body = JSON.stringify({
      prefix: folder,
      limit: 100,
      offset: 0,
      sortBy: { column: 'created_at', order: 'desc' },
    })
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/list/${bucket}`
    return await this.#request(
      `listing ${bucket}/${folder}`,
      () => [url, this.#init('POST', body)],
      (r) => r.json(),
    )
  }

  /** Uploads the pieces as one object; they are made again for each attempt. False where an object of that name exists. */
  async upload(bucket: string, name: string, pieces: () => Iterable<Uint8Array>, type: string): Promise<boolean> {
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/${bucket}/${encoded(name)}`
    try {
      await this.#request(
        `uploading ${bucket}/${name}`,
        () => [
          url,
          {
            method: 'POST',
            // A stream: joining the pieces first would need twice the memory.
            body: ReadableStream.from(pieces()),
            headers: { ...this.#headers(), 'content-type': type, 'x-upsert': 'false' },
          },
        ],
        (r) => r.body?.cancel() ?? Promise.resolve(),
        this.#settings.retry.transferMs,
      )
      return true
    } catch (error) {
      if (statusOf((error as Error).cause) === 409) return false
      throw error
    }
  }

  /** The object's bytes, or null where it does not exist or is larger than `limit` bytes. */
  async download(bucket: string, name: string, limit: number): Promise<Uint8Array | null> {
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/authenticated/${bucket}/${encoded(name)}`
    try {
      return await this.#request(
        `reading ${bucket}/${name}`,
        () => [url, { headers: this.#headers() }],
        (r) => bounded(r, limit),
        this.#settings.retry.transferMs,
      )
    } catch (error) {
      if (statusOf((error as Error).cause) === 404) return null
      throw error
    }
  }

  /** A URL with which the object can be read for so many seconds; null where the object does not exist. */
  async sign(bucket: string, name: string, seconds: number): Promise<string | null> {
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/sign/${bucket}/${encoded(name)}`
    const init = this.#init('POST', JSON.stringify({ expiresIn: seconds }))
    try {
      const { signedURL } = await this.#request<{ signedURL: string }>(
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

  /** Removes objects; missing ones are not an error. */
  async remove(bucket: string, names: string[]): Promise<void> {
    if (names.length === 0) return
    const url = `${this.#settings.supabaseUrl}/storage/v1/object/${bucket}`
    const init = this.#init('DELETE', JSON.stringify({ prefixes: names }))
    await this.#request(
      `removing from ${bucket}`,
      () => [url, init],
      (r) => r.body?.cancel() ?? Promise.resolve(),
    )
  }

  async #request<T>(
    operation: string,
    build: () => [string, RequestInit],
    read: (response: Response) => Promise<T>,
    timeout?: number,
  ): Promise<T> {
    try {
      return await request({ operation, timeout, retry: this.#settings.retry }, build, read)
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

/** Reads the body up to `limit` bytes; null where it is longer. */
async function bounded(response: Response, limit: number): Promise<Uint8Array | null> {
  const length = Number(response.headers.get('content-length') ?? 0)
  if (length > limit) {
    await response.body?.cancel()
    return null
  }
  // Without a length the buffer grows with the body.
  let bytes = new Uint8Array(length > 0 ? length : 64 << 10)
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
