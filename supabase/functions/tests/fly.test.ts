import {
  FAST_RETRY,
  inWorld,
  passTime,
  person,
  project,
  removeRight,
  rows,
  sessionsOf,
  type World,
} from './fly_support.ts'
import { assert, assertEquals, post } from './support.ts'

/** Checks that the person has exactly this session, running, with exactly one started machine. */
async function assertRunning(world: World, who: { id: string }, id: string): Promise<void> {
  const live = (await sessionsOf(who.id)).filter((one) => !one.ended_at)
  assertEquals(
    live.map((one) => [one.id, one.state]),
    [[id, 'running']],
  )
  assertEquals(
    world.fly.alive([id]).map((one) => [one.id, one.state]),
    [[live[0].machine_id, 'started']],
  )
}

Deno.test('a session on a Fly machine is opened, read and ended', () =>
  inWorld(async (world) => {
    const who = await person()
    const { status, body } = await world.open(who.token)
    assertEquals([status, body.state, body.provider], [200, 'running', 'fly'], JSON.stringify(body))
    await assertRunning(world, who, body.session_id)
    const [machine] = world.fly.alive()
    const { PREVIEW_ACCESS_TOKEN: access, PREVIEW_HOSTS: hosts } = machine!.config.env
    assert(/^[0-9a-f]{64}$/.test(access), 'the machine has an access token for its preview')
    assertEquals(hosts, '.previews.example')
    const address = `https://${machine!.id}.previews.example/?preview_token=${access}`
    assertEquals(body.preview_url, address)
    assertEquals((await world.status(who.token, body.session_id)).body.preview_url, address, 'read again')
    const [row] = await sessionsOf(who.id)
    assert(!JSON.stringify(row).includes(access), 'the database does not have it')
    const env = Object.keys(machine!.config.env).sort()
    assertEquals(env, [
      'LOG_FORMAT',
      'PREVIEW_ACCESS_TOKEN',
      'PREVIEW_HOSTS',
      'PROJECT_ID',
      'REALTIME_TOKEN',
      'SESSION_ID',
      'SESSION_URL',
      'SNAPSHOT_URL',
      'SUPABASE_ANON_KEY',
      'SUPABASE_URL',
    ])
    assertEquals((await world.open(who.token)).body.session_id, body.session_id, 'opened again it is the same')
    assertEquals((await world.status(who.token, body.session_id)).body.state, 'running')
    const another = await world.open(who.token, { another: true })
    assert(another.status === 200 && another.body.session_id !== body.session_id, 'unless another is asked for')
    assertEquals(world.fly.alive().length, 2)
    const tokens = new Set(world.fly.alive().map((one) => one.config.env.PREVIEW_ACCESS_TOKEN))
    assertEquals(tokens.size, 2, 'each session has its own access token')
    for (const id of [body.session_id, another.body.session_id]) {
      assertEquals((await world.end(who.token, id)).body.state, 'ended')
      assertEquals((await world.end(who.token, id)).body.state, 'ended', 'ended twice')
    }
    assertEquals(world.fly.alive(), [])
    const token = machine!.config.env.REALTIME_TOKEN
    const renewal = { session_id: body.session_id, project_id: project, want: ['token'] }
    assertEquals(
      (await post(`${world.url}/preview-session/renew`, token, renewal)).status,
      410,
      'renewal after its end',
    )
  }))

Deno.test('ten calls at the same time make one machine', () =>
  inWorld(async (world) => {
    world.fly.stepMs = 50
    const who = await person()
    for (const state of ['none yet', 'dead', 'failed']) {
      const [before] = world.fly.alive()
      if (before) before.state = state === 'dead' ? 'stopped' : 'failed'
      const answers = await Promise.all(Array.from({ length: 10 }, () => world.open(who.token)))
      const states = answers.map((one) => one.body.state).sort()
      // A stopped machine is only started: all calls wait for it.
      const running = state === 'dead' ? 10 : 1
      assertEquals(states.filter((one) => one === 'running').length, running, `${state}: ${states}`)
      assertEquals(states.filter((one) => one === 'starting').length, 10 - running, `${state}: ${states}`)
      await assertRunning(world, who, answers[0]!.body.session_id)
    }
    assertEquals(world.fly.machines.size, 2, 'the failed one was replaced once, and the stopped one was started')
  }))

Deno.test('a machine is started from every state', () =>
  inWorld(async (world) => {
    const who = await person()
    const {
      body: { session_id: id },
    } = await world.open(who.token)
    for (const state of ['started', 'suspended', 'stopped', 'failed', 'destroyed', 'launch_failed']) {
      const [machine] = world.fly.alive([id])
      machine!.state = state
      const { status, body } = await world.open(who.token)
      assertEquals([status, body.state, body.session_id], [200, 'running', id], `${state}: ${JSON.stringify(body)}`)
      await assertRunning(world, who, id)
    }
    // States that change by themselves while the call waits.
    for (const [state, next] of [
      ['starting', 'started'],
      ['stopping', 'stopped'],
      ['replacing', 'started'],
    ] as const) {
      const [machine] = world.fly.alive([id])
      machine!.state = state
      setTimeout(() => (machine!.state = next), 60)
      const { status, body } = await world.open(who.token)
      assertEquals([status, body.state], [200, 'running'], `${state}: ${JSON.stringify(body)}`)
      await assertRunning(world, who, id)
    }
  }))

Deno.test('a machine that fails during its start is replaced once, then the start fails', () =>
  inWorld(
    async (world) => {
      const who = await person()
      world.fly.ends.push('failed')
      const { status, body } = await world.open(who.token)
      assertEquals([status, body.state], [200, 'running'], JSON.stringify(body))
      assertEquals(
        [...world.fly.machines.values()].map((one) => one.state),
        ['destroyed', 'started'],
      )
      await world.end(who.token, body.session_id)
      for (const end of ['failed', 'stopped']) {
        world.fly.ends.push(end, end, end, end)
        const answer = await world.open(who.token)
        assertEquals(answer.status, 503, JSON.stringify(answer.body))
        assertEquals([world.fly.alive(), (await sessionsOf(who.id)).at(-1).state], [[], 'ended'], end)
        world.fly.ends.length = 0
      }
      assertEquals((await world.open(who.token)).status, 200, 'the next call succeeds')
    },
    { ...FAST_RETRY, attemptMs: 30_000 },
  ))

Deno.test('a lost answer causes no second machine and no second session', () =>
  inWorld(async (world) => {
    for (const another of [false, true]) {
      const who = await person()
      world.gateway.faults.fail('rpc open_preview_session', 'cut after', 1)
      world.gateway.faults.fail('rpc preview_session_started', 'cut after', 1)
      world.fly.faults.fail('create', 'cut after', 1)
      const { status, body } = await world.open(who.token, { another })
      assertEquals([status, body.state], [200, 'running'], JSON.stringify(body))
      await assertRunning(world, who, body.session_id)
      world.gateway.faults.fail('rpc restart_preview_session', 'cut after', 1)
      world.fly.faults.fail('start', 'cut after', 1)
      for (const state of another ? [] : ['failed', 'stopped']) {
        world.fly.alive([body.session_id])[0]!.state = state
        assertEquals((await world.open(who.token)).body.state, 'running', state)
        await assertRunning(world, who, body.session_id)
      }
      await world.clear()
    }
  }))

Deno.test('requests that Fly refuses by its rate limits are repeated', () =>
  inWorld(
    async (world) => {
      world.fly.rate = 1
      const whose = await Promise.all([1, 2, 3, 4, 5].map(person))
      const answers = await Promise.all(whose.map(({ token }) => world.open(token)))
      assertEquals(
        answers.map((one) => one.status),
        [200, 200, 200, 200, 200],
        JSON.stringify(answers),
      )
      assert(world.fly.faults.calls.get('create')! > 5, 'some were refused at first')
    },
    {
      ...FAST_RETRY,
      attempts: 8,
      firstDelayMs: 300,
      maxDelayMs: 1500,
      attemptMs: 30_000,
      transferMs: 30_000,
      totalMs: 60_000,
    },
  ))

Deno.test('the sweep ends idle sessions and sessions without a right, and removes machines without a session', () =>
  inWorld(
    async (world) => {
      const [idle, gone, live] = [await person(), await person(), await person()]
      const ids = []
      for (const { token } of [idle, gone, live]) ids.push((await world.open(token)).body.session_id)
      const [, ofGone, ofLive] = ids
      await removeRight(gone.id)
      const orphan = { ...world.fly.alive()[0]!, id: 'd0orphan', name: 'preview-orphan' }
      orphan.config = { ...orphan.config, metadata: { ...orphan.config.metadata, session_id: crypto.randomUUID() } }
      const foreign = { ...orphan, id: 'd0foreign', name: "another-project's" }
      foreign.config = { ...orphan.config, metadata: { managed_by: 'preview-session@other', session_id: 'x' } }
      for (const one of [orphan, foreign]) world.fly.machines.set(one.id, one)
      const agents = world.fly.alive([ofGone])[0]!.config.env.REALTIME_TOKEN
      const renewal = { session_id: ofGone, project_id: project, want: ['token'] }
      assertEquals((await post(`${world.url}/preview-session/renew`, agents, renewal)).status, 403, 'no right any more')
      // A leased machine cannot be removed.
      const [leased] = world.fly.alive([ofGone])
      world.fly.lease(leased!.id)
      // The project's last save counts as use too.
      await new Promise((done) => setTimeout(done, 3_200))
      assertEquals((await world.status(live.token, ofLive)).body.state, 'running', 'reading the session counts as use')
      const { status, body } = await world.sweep()
      assertEquals([status, body], [200, { ended: 1, orphans: 1, left: 1 }])
      world.fly.release(leased!.id)
      assertEquals((await world.sweep()).body, { ended: 1, orphans: 0, left: 0 })
      assertEquals((await world.sweep()).body, { ended: 0, orphans: 0, left: 0 })
      const states = [...world.fly.alive()].map((one) => one.id).sort()
      assertEquals(states, [world.fly.alive([ofLive])[0]!.id, 'd0foreign'].sort(), 'remaining machines')
      assertEquals((await sessionsOf(idle.id))[0].reason, 'idle')
      assertEquals((await sessionsOf(gone.id))[0].reason, 'no_right')
    },
    { ...FAST_RETRY, attemptMs: 30_000, totalMs: 60_000 },
    { PREVIEW_IDLE_SECONDS: '3' },
  ))

Deno.test('callers without a right are refused, and nothing is made', () =>
  inWorld(async (world) => {
    const who = await person()
    const stranger = await person()
    await removeRight(stranger.id)
    assertEquals((await world.open(stranger.token)).status, 403, 'no right to the project')
    assertEquals((await world.open(who.token, { project_id: crypto.randomUUID() })).status, 403, 'no such project')
    assertEquals((await world.open(who.token, { project_id: 'one' })).status, 400)
    const flag = 'flag_key=eq.FSYNC_SNAPSHOT_HYDRATION'
    await rows('feature_flags', flag, { is_enabled: false })
    const off = await world.open(who.token)
    await rows('feature_flags', flag, { is_enabled: true })
    assertEquals([off.status, off.body.code], [403, 'PT403'], 'the flag is off')
    const {
      body: { session_id: id },
    } = await world.open(who.token)
    assertEquals((await world.status(stranger.token, id)).status, 404)
    assertEquals((await world.end(stranger.token, id)).status, 404)
    assertEquals((await post(`${world.url}/preview-session/sweep`, who.token, {})).status, 401)
    for (let more = 0; more < 4; more++) await world.open(who.token, { another: true })
    const before = performance.now()
    const sixth = await world.open(who.token, { another: true })
    assertEquals([sixth.status, sixth.body.code], [429, 'PT429'], 'five sessions are the limit')
    console.log(`the sixth session was refused after ${Math.round(performance.now() - before)} ms`)
    assertEquals(world.gateway.faults.calls.get('rpc open_preview_session')! < 20, true, 'refusals are not repeated')
    assertEquals(world.fly.alive().length, 5)
  }))

Deno.test('a person who loses the right during the start gets no session', () =>
  inWorld(async (world) => {
    const who = await person()
    world.fly.stepMs = 150
    const opened = world.open(who.token)
    while (world.fly.machines.size === 0) await new Promise((done) => setTimeout(done, 5))
    await removeRight(who.id)
    assertEquals((await opened).status, 410)
    assertEquals([world.fly.alive(), (await sessionsOf(who.id))[0].state], [[], 'ended'])
  }))

Deno.test('a stopped machine is started without a new snapshot', () =>
  inWorld(
    async (world) => {
      const who = await person()
      const {
        body: { session_id: id },
      } = await world.withoutFaults().open(who.token)
      const [machine] = world.fly.alive([id])
      world.gateway.faults.fail('rpc project_head', '500')
      for (const state of ['suspended', 'stopped']) {
        machine!.state = state
        const { status, body } = await world.open(who.token)
        assertEquals([status, body.state, body.session_id], [200, 'running', id], `${state}: ${JSON.stringify(body)}`)
        await assertRunning(world, who, id)
      }
      assertEquals(world.gateway.faults.calls.get('rpc project_head'), undefined, 'no snapshot is requested')
    },
    { ...FAST_RETRY, attemptMs: 30_000, totalMs: 60_000 },
  ))

Deno.test('a restart that fails, or whose session is ended meanwhile, leaves no second machine', () =>
  inWorld(
    async (world) => {
      for (const how of ['taken back', 'ended']) {
        const who = await person()
        const {
          body: { session_id: id },
        } = await world.withoutFaults().open(who.token)
        const [dead] = world.fly.alive([id])
        dead!.state = 'failed'
        world.gateway.faults.fail('rpc preview_session_started', how === 'ended' ? 'late' : '500')
        const opened = world.open(who.token)
        if (how === 'ended') {
          while (world.fly.alive([id])[0]?.state !== 'started') await new Promise((done) => setTimeout(done, 5))
          assertEquals((await world.withoutFaults().end(who.token, id)).body.state, 'ended')
        }
        if (how === 'taken back') assertEquals((await opened).status, 503)
        assertEquals(world.fly.alive([id]), [], how)
        assertEquals((await sessionsOf(who.id))[0].state, 'ended', how)
        await world.clear()
        await opened
      }
    },
    { ...FAST_RETRY, attemptMs: 5_000, totalMs: 60_000 },
  ))

Deno.test('a start that another call has taken over is not undone by the first call', () =>
  inWorld(
    async (world) => {
      const who = await person()
      world.fly.faults.fail('create', 'late')
      const first = world.open(who.token)
      while (!world.fly.faults.calls.get('create')) await new Promise((done) => setTimeout(done, 5))
      const [session] = await sessionsOf(who.id)
      await passTime(session.id, 121)
      const second = await world.withoutFaults().open(who.token)
      assertEquals([second.status, second.body.session_id], [200, session.id], JSON.stringify(second.body))
      assertEquals((await first).status, 503)
      await assertRunning(world, who, session.id)
    },
    { ...FAST_RETRY, attempts: 2, attemptMs: 1_500, totalMs: 60_000 },
  ))

Deno.test('a refusal of the service key is not a final answer to a renewal', () =>
  inWorld(async (world) => {
    const who = await person()
    const {
      body: { session_id: id },
    } = await world.withoutFaults().open(who.token)
    const token = world.fly.alive([id])[0]!.config.env.REALTIME_TOKEN
    const renew = (want: string) =>
      post(`${world.url}/preview-session/renew`, token, { session_id: id, project_id: project, want: [want] })
    const refusals = [
      [401, 'PGRST301'],
      [401, 'PGRST303'],
      [401, '42501'],
      [403, '42501'],
    ] as const
    for (const [status, code] of refusals) {
      for (const [operation, want] of [
        ['renew_preview_session', 'token'],
        ['project_head', 'snapshot'],
      ] as const) {
        world.gateway.faults.refuse(`rpc ${operation}`, status, code)
        const answer = await renew(want)
        assertEquals([answer.status, answer.body.code], [503, 'unavailable'], `${operation}: ${status} ${code}`)
        await world.clear()
      }
    }
    assertEquals((await renew('token')).status, 200, 'afterwards the renewal succeeds')
  }))
