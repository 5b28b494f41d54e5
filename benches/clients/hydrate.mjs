// node hydrate.mjs URL DIR: downloads a zip and writes its files, all at once.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import axios from 'axios'
import JSZip from 'jszip'

const [url, dir] = process.argv.slice(2)
const { data } = await axios.get(url, { responseType: 'arraybuffer' })
const zip = await JSZip.loadAsync(data)
const made = new Map()
const directory = (path) => {
  if (!made.has(path)) made.set(path, mkdir(path, { recursive: true }))
  return made.get(path)
}
await Promise.all(
  Object.values(zip.files)
    .filter((entry) => !entry.dir && !entry.name.startsWith('.preview/'))
    .map(async (entry) => {
      const path = join(dir, entry.name)
      const [bytes] = await Promise.all([entry.async('nodebuffer'), directory(dirname(path))])
      await writeFile(path, bytes)
    }),
)
