import { excluded, inWorld, later, person, project, QUICK, rows, sessionsOf, type World } from './fly_support.ts'
import { assert, assertEquals, post } from './support.ts'

/** One session of one person and one machine for it, both as they should be. */
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

Deno.test('a session on a Fly machine, from create to end', () =>
  inWorld(async (world) => {
    const who = await person()
    const { status, body } = await world.open(who.token)
    assertEquals([status, body.state, body.provider], [200, 'running', 'fly'], JSON.stringify(body))
    await assertRunning(world, who, body.session_id)
    const [machine] = world.fly.alive()
    assertEquals(body.preview_url, `https://${machine!.id}.previews.example/`)
    const env = Object.keys(machine!.config.env).sort()
    assertEquals(env, [
      'LOG_FORMAT',
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
    for (const id of [body.session_id, another.body.session_id]) {
      assertEquals((await world.end(who.token, id)).body.state, 'ended')
      assertEquals((await world.end(who.token, id)).body.state, 'ended', 'ended twice')
    }
    assertEquals(world.fly.alive(), [])
    const token = machine!.config.env.REALTIME_TOKEN
    const wish = { session_id: body.session_id, project_id: project, want: ['token'] }
    assertEquals((await post(`${world.url}/preview-session/renew`, token, wish)).status, 410, 'renewed after its end')
  }))

Deno.test('asked twice and ten times at once, one machine is made', () =>
  inWorld(async (world) => {
    world.fly.stepMs = 50
    const who = await person()
    for (const state of ['none yet', 'dead', 'failed']) {
      const [before] = world.fly.alive()
      if (before) before.state = state === 'dead' ? 'stopped' : 'failed'
      const answers = await Promise.all(Array.from({ length: 10 }, () => world.open(who.token)))
      const states = answers.map((one) => one.body.state).sort()
      // One that is only to be woken is no start: all of them wait for it.
      const running = state === 'dead' ? 10 : 1
      assertEquals(states.filter((one) => one === 'running').length, running, `${state}: ${states}`)
      assertEquals(states.filter((one) => one === 'starting').length, 10 - running, `${state}: ${states}`)
      await assertRunning(world, who, answers[0]!.body.session_id)
    }
    assertEquals(world.fly.machines.size, 2, 'the failed one was replaced once, and the stopped one woken')
  }))

Deno.test('a machine is started from every state that it may be found in', () =>
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
    // On its way somewhere: it gets there while it is waited for.
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

Deno.test('a machine that fails while it starts is replaced once, and then given up', () =>
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
      assertEquals((await world.open(who.token)).status, 200, 'asked again, it goes on')
    },
    { ...QUICK, tryMs: 30_000 },
  ))

Deno.test('an answer that was lost makes no second machine, and no second session', () =>
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
      await world.mend()
    }
  }))

Deno.test("Fly's own limits of requests are waited out", () =>
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
      assert(world.fly.faults.asked.get('create')! > 5, 'some were refused at first')
    },
    { ...QUICK, tries: 8, firstWaitMs: 300, longestWaitMs: 1500, tryMs: 30_000, longTryMs: 30_000, totalMs: 60_000 },
  ))

Deno.test('the sweep ends what is idle, what lost its right, and removes orphans', () =>
  inWorld(
    async (world) => {
      const [idle, gone, live] = [await person(), await person(), await person()]
      const ids = []
      for (const { token } of [idle, gone, live]) ids.push((await world.open(token)).body.session_id)
      const [, ofGone, ofLive] = ids
      await excluded(gone.id)
      const orphan = { ...world.fly.alive()[0]!, id: 'd0orphan', name: 'preview-orphan' }
      orphan.config = { ...orphan.config, metadata: { ...orphan.config.metadata, session_id: crypto.randomUUID() } }
      const foreign = { ...orphan, id: 'd0foreign', name: "another-project's" }
      foreign.config = { ...orphan.config, metadata: { managed_by: 'preview-session@other', session_id: 'x' } }
      for (const one of [orphan, foreign]) world.fly.machines.set(one.id, one)
      const agents = world.fly.alive([ofGone])[0]!.config.env.REALTIME_TOKEN
      const wish = { session_id: ofGone, project_id: project, want: ['token'] }
      assertEquals((await post(`${world.url}/preview-session/renew`, agents, wish)).status, 403, 'no right any more')
      // A leased machine cannot be removed for now.
      const [leased] = world.fly.alive([ofGone])
      world.fly.lease(leased!.id)
      // The project's last save counts as use as well.
      await new Promise((done) => setTimeout(done, 3_200))
      assertEquals((await world.status(live.token, ofLive)).body.state, 'running', 'looked at, it is in use')
      const { status, body } = await world.sweep()
      assertEquals([status, body], [200, { ended: 1, orphans: 1, left: 1 }])
      world.fly.release(leased!.id)
      assertEquals((await world.sweep()).body, { ended: 1, orphans: 0, left: 0 })
      assertEquals((await world.sweep()).body, { ended: 0, orphans: 0, left: 0 })
      const states = [...world.fly.alive()].map((one) => one.id).sort()
      assertEquals(states, [world.fly.alive([ofLive])[0]!.id, 'd0foreign'].sort(), 'who is left')
      assertEquals((await sessionsOf(idle.id))[0].reason, 'idle')
      assertEquals((await sessionsOf(gone.id))[0].reason, 'no_right')
    },
    { ...QUICK, tryMs: 30_000, totalMs: 60_000 },
    { PREVIEW_IDLE_SECONDS: '3' },
  ))

Deno.test('whoever may not is refused, and nothing is made', () =>
  inWorld(async (world) => {
    const who = await person()
    const stranger = await person()
    await excluded(stranger.id)
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
    assertEquals([sixth.status, sixth.body.code], [429, 'PT429'], 'five at once are enough')
    console.log(`the sixth session was refused after ${Math.round(performance.now() - before)} ms`)
    assertEquals(world.gateway.faults.asked.get('rpc open_preview_session')! < 20, true, 'refusals are not asked again')
    assertEquals(world.fly.alive().length, 5)
  }))

Deno.test('who loses the project while the machine starts gets none', () =>
  inWorld(async (world) => {
    const who = await person()
    world.fly.stepMs = 150
    const opened = world.open(who.token)
    while (world.fly.machines.size === 0) await new Promise((done) => setTimeout(done, 5))
    await excluded(who.id)
    assertEquals((await opened).status, 410)
    assertEquals([world.fly.alive(), (await sessionsOf(who.id))[0].state], [[], 'ended'])
  }))

Deno.test('a machine that halted is woken, whether or not a snapshot can be built', () =>
  inWorld(
    async (world) => {
      const who = await person()
      const {
        body: { session_id: id },
      } = await world.calmly().open(who.token)
      const [machine] = world.fly.alive([id])
      world.gateway.faults.fail('rpc project_head', '500')
      for (const state of ['suspended', 'stopped']) {
        machine!.state = state
        const { status, body } = await world.open(who.token)
        assertEquals([status, body.state, body.session_id], [200, 'running', id], `${state}: ${JSON.stringify(body)}`)
        await assertRunning(world, who, id)
      }
      assertEquals(world.gateway.faults.asked.get('rpc project_head'), undefined, 'and none is asked for')
    },
    { ...QUICK, tryMs: 30_000, totalMs: 60_000 },
  ))

Deno.test('a restart that is taken back, or ended meanwhile, leaves no machine under another id', () =>
  inWorld(
    async (world) => {
      for (const how of ['taken back', 'ended']) {
        const who = await person()
        const {
          body: { session_id: id },
        } = await world.calmly().open(who.token)
        const [dead] = world.fly.alive([id])
        dead!.state = 'failed'
        world.gateway.faults.fail('rpc preview_session_started', how === 'ended' ? 'late' : '500')
        const opened = world.open(who.token)
        if (how === 'ended') {
          while (world.fly.alive([id])[0]?.state !== 'started') await new Promise((done) => setTimeout(done, 5))
          assertEquals((await world.calmly().end(who.token, id)).body.state, 'ended')
        }
        if (how === 'taken back') assertEquals((await opened).status, 503)
        assertEquals(world.fly.alive([id]), [], how)
        assertEquals((await sessionsOf(who.id))[0].state, 'ended', how)
        await world.mend()
        await opened
      }
    },
    { ...QUICK, tryMs: 5_000, totalMs: 60_000 },
  ))

Deno.test('a start that another has taken over is not taken back by the first', () =>
  inWorld(
    async (world) => {
      const who = await person()
      world.fly.faults.fail('create', 'late')
      const first = world.open(who.token)
      while (!world.fly.faults.asked.get('create')) await new Promise((done) => setTimeout(done, 5))
      const [session] = await sessionsOf(who.id)
      await later(session.id, 121)
      const second = await world.calmly().open(who.token)
      assertEquals([second.status, second.body.session_id], [200, session.id], JSON.stringify(second.body))
      assertEquals((await first).status, 503)
      await assertRunning(world, who, session.id)
    },
    { ...QUICK, tries: 2, tryMs: 1_500, totalMs: 60_000 },
  ))

Deno.test('a renewal is no for good only where the session is over or its owner has no right, not where our own key is refused', () =>
  inWorld(async (world) => {
    const who = await person()
    const {
      body: { session_id: id },
    } = await world.calmly().open(who.token)
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
        await world.mend()
      }
    }
    assertEquals((await renew('token')).status, 200, 'and then it is renewed')
  }))
