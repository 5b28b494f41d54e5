import { Deadline } from '../_shared/http.ts'
import { LocalMachines } from '../_shared/local.ts'
import { assert, assertEquals } from './support.ts'

const deadline = () => Deadline.in(60_000)
/** Answers at the given status address, as the agent does. */
const FAKE_AGENT = `#!/bin/sh
exec "${Deno.execPath()}" eval 'const address = Deno.args.at(-1); const port = Number(address.split(":").at(-1));
  Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, () => new Response("well"));' -- "$@"
`

Deno.test('machines as processes: none, suspended, dead, and one that ends during its start', async () => {
  const home = await Deno.makeTempDir()
  const binary = `${home}/agent`
  await Deno.writeTextFile(binary, FAKE_AGENT, { mode: 0o755 })
  const machines = new LocalMachines(binary, `${home}/machines`, Deno.env.get('PATH') ?? '/usr/bin:/bin')
  const config = { sessionId: 's-1', env: {} }
  try {
    assertEquals(await machines.list(), [], 'the directory is made with the first machine')
    const machine = await machines.ensure('preview-s-1', config, deadline())
    assertEquals([machine.state, machine.sessionId], ['started', 's-1'])
    const pid = async () => JSON.parse(await Deno.readTextFile(`${home}/machines/preview-s-1/machine.json`)).pid
    const first = await pid()
    await machines.suspend(machine.id)
    const state = async () => (await machines.list()).map((one) => one.state)
    while ((await state())[0] === 'started') await new Promise((done) => setTimeout(done, 5))
    assertEquals(await state(), ['suspended'])
    assertEquals((await machines.ensure('preview-s-1', config, deadline())).state, 'started')
    assertEquals(await pid(), first, 'continued, it is the same process')
    Deno.kill(first, 'SIGKILL')
    while ((await state())[0] === 'started') await new Promise((done) => setTimeout(done, 5))
    assertEquals(await state(), ['stopped'], 'a dead process is noticed')
    assertEquals((await machines.ensure('preview-s-1', config, deadline())).state, 'started')
    assert((await pid()) !== first, 'and replaced')
    await machines.destroy(machine.id)
    await machines.destroy(machine.id)
    assertEquals(await machines.list(), [])

    await Deno.writeTextFile(binary, '#!/bin/sh\necho no room for this one >&2\nexit 69\n')
    const message = await machines.ensure('preview-s-2', config, deadline()).then(() => '', String)
    assert(message.includes('no room for this one'), message)
    assertEquals(await state(), ['stopped'], 'it can be found and removed')
    await machines.destroy('preview-s-2')
    assertEquals(await machines.list(), [])
  } finally {
    for (const one of await machines.list()) await machines.destroy(one.id)
    await Deno.remove(home, { recursive: true })
  }
})
