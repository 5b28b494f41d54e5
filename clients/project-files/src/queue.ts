/** Lets the writes of one path go one after the other, in the order of their calls; a bulk waits for all of its paths. */
export class Queue {
  private readonly tails = new Map<string, Promise<void>>()

  async run<T>(paths: Iterable<string>, write: () => Promise<T>): Promise<T> {
    const own = [...new Set(paths)]
    const before = own.map((path) => this.tails.get(path))
    let finish = () => {}
    const tail = new Promise<void>((resolve) => (finish = resolve))
    for (const path of own) this.tails.set(path, tail)
    try {
      await Promise.all(before)
      return await write()
    } finally {
      finish()
      for (const path of own) if (this.tails.get(path) === tail) this.tails.delete(path)
    }
  }
}
