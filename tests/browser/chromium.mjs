import { existsSync } from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

function installedBrowser() {
  const directories = (process.env.PATH ?? '').split(path.delimiter)
  const found = names.flatMap((name) => directories.map((directory) => path.join(directory, name))).find(existsSync)
  if (!found) throw new Error(`no Chromium on the PATH: ${names.join(', ')}`)
  return found
}

/** Starts the system's browser: without a sandbox, which root cannot use, and without the browser's background requests. */
export function launch(extra = []) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? installedBrowser(),
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...extra,
    ],
  })
}
