import { abortedError } from './retry.js'

/** Runs the writes of one path one after the other, in the order of their calls; a bulk waits for all of its paths. */
export class WriteQueue {
  private readonly tails = new Map<string, Promise<void>>()

  async run<T>(paths: Iterable<string>, write: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const own = [...new Set(paths)]
    const before = Promise.all(own.map((path) => this.tails.get(path)))
    let finish = () => {}
    const tail = new Promise<void>((resolve) => {
      finish = resolve
    })
    for (const path of own) this.tails.set(path, tail)
    const release = () => {
      finish()
      for (const path of own) if (this.tails.get(path) === tail) this.tails.delete(path)
    }
    try {
      await unlessAborted(before, signal)
      return await write()
    } finally {
      // A write that is aborted while it waits keeps its place, so that later writes still wait for the earlier ones.
      void before.then(release)
    }
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(abortedError(signal))
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
