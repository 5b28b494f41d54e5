import { aborted } from './retry.js'

/** Lets the writes of one path go one after the other, in the order of their calls; a bulk waits for all of its paths. */
export class Queue {
  private readonly tails = new Map<string, Promise<void>>()

  async run<T>(paths: Iterable<string>, write: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const own = [...new Set(paths)]
    const before = Promise.all(own.map((path) => this.tails.get(path)))
    let finish = () => {}
    const tail = new Promise<void>((resolve) => (finish = resolve))
    for (const path of own) this.tails.set(path, tail)
    const release = () => {
      finish()
      for (const path of own) if (this.tails.get(path) === tail) this.tails.delete(path)
    }
    try {
      await unlessAborted(before, signal)
      return await write()
    } finally {
      // One that is given up while it waits keeps its place: those behind it wait for those before it.
      void before.then(release)
    }
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  return new Promise<T>((resolve, reject) => {
    const end = () => reject(aborted(signal))
    if (signal.aborted) return end()
    signal.addEventListener('abort', end, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', end))
  })
}
