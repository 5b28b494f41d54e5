import { existsSync } from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

function installed() {
  const places = (process.env.PATH ?? '').split(path.delimiter)
  const found = names.flatMap((name) => places.map((place) => path.join(place, name))).find(existsSync)
  if (!found) throw new Error(`no Chromium on the PATH: ${names.join(', ')}`)
  return found
}

/** The system's browser. Without a sandbox, which root cannot have, and silent towards the internet. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? installed(),
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}
