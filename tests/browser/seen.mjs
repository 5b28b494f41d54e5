// Measures when a change is on disk, and when a page shows it.
import { existsSync, readFileSync, watch } from 'node:fs'
import path from 'node:path'

export const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]

/** Resolves with the time at which `file` holds `text`. */
export function onDisk(file, text) {
  return new Promise((resolve, reject) => {
    const look = () => {
      // Between a delete and a rename the file may be missing.
      if (!existsSync(file) || !readFileSync(file, 'utf8').includes(text)) return
      clearTimeout(late)
      watcher.close()
      resolve(performance.timeOrigin + performance.now())
    }
    const watcher = watch(path.dirname(file), look)
    const late = setTimeout(() => reject(new Error(`not in ${file} within 30 s: ${text}`), watcher.close()), 30_000)
    look()
  })
}

/** Resolves with the time at which the page shows `text`, by the page's own clock. */
export function onPage(page, text) {
  return page.evaluate(
    (text) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!document.body.innerText.includes(text)) return
          observer.disconnect()
          resolve(performance.timeOrigin + performance.now())
        }
        const observer = new MutationObserver(look)
        observer.observe(document.body, { subtree: true, childList: true, characterData: true })
        setTimeout(() => reject(new Error(`not on the page within 30 s: ${text}`)), 30_000)
        look()
      }),
    text,
  )
}
