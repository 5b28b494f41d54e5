// The dev server of the container tests: shows the project as its own code sees it, and misbehaves on request.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'

const files = () => {
  const found = readdirSync('.', { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const paths = found.map((entry) => `${entry.parentPath}/${entry.name}`.replace(/^\.\//, ''))
  const owned = paths.filter((path) => !path.startsWith('node_modules/'))
  return Object.fromEntries(owned.map((path) => [path, readFileSync(path).toString('hex')]))
}

const eat = () => {
  const eaten = []
  for (;;) eaten.push(Buffer.alloc(16 << 20, 1))
}

// A process in another session, whose parents have ended, that ignores SIGTERM.
const ESCAPE = `trap '' TERM; (setsid sh -c 'trap "" TERM; echo $$ > /tmp/escaped; exec sleep 3600' &) &`

createServer((request, response) => {
  if (request.url === '/tree') return response.end(JSON.stringify(files()))
  if (request.url === '/eat') {
    response.end('eating')
    return setTimeout(eat, 100)
  }
  if (request.url === '/hostile') {
    spawn('node', ['hostile.mjs'], { stdio: 'inherit' })
    return response.end('hostile')
  }
  if (request.url === '/escape') {
    spawn('sh', ['-c', ESCAPE], { detached: true, stdio: 'ignore' })
    return response.end('escape')
  }
  if (request.url === '/orphans') {
    // Every one outlives its parent, the subshell, and then ends.
    const shell = spawn('sh', ['-c', 'i=0; while [ $i -lt 1000 ]; do (sleep 1 &); i=$((i+1)); done'], {
      stdio: 'ignore',
    })
    return shell.on('exit', () => response.end('1000'))
  }
  response.end('preview')
}).listen(process.env.PORT)
