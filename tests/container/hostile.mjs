// All attacks at the same time for ten seconds; then it cleans up and writes what it could read to /tmp/hostile.json.
import { spawn } from 'node:child_process'
import * as fs from 'node:fs'

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
}

const quietly = (act) => {
  try {
    act()
  } catch {
    // Another loop was faster, or the disk is full: the next round tries again.
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

const flood = () => {
  for (let line = 0; line < 500; line++) console.log(`flood ${'x'.repeat(200)}`)
}

spy()
const bomb = spawn('sh', ['-c', 'bomb() { bomb | bomb & }; bomb; sleep 60'], { detached: true, stdio: 'ignore' })
bomb.on('error', () => {})
const loops = [setInterval(swap, 1), setInterval(fill, 700), setInterval(flood, 20)]

setTimeout(() => {
  loops.forEach(clearInterval)
  for (let round = 0; round < 20; round++) quietly(() => process.kill(-bomb.pid, 'SIGKILL'))
}, SECONDS * 1000)
setTimeout(
  () => {
    spy()
    for (const path of ['fill.bin', 'src.away']) fs.rmSync(path, { recursive: true, force: true })
    quietly(() => fs.lstatSync('src').isSymbolicLink() && fs.unlinkSync('src'))
    fs.writeFileSync('/tmp/hostile.json', JSON.stringify(report))
  },
  SECONDS * 1000 + 1000,
)
