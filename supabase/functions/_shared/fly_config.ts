import type { MachineConfig } from './machines.ts'
import { Secret } from './secret.ts'
import { type Environment, required, whole } from './settings.ts'

/** CPUs that a shared machine may have, and megabytes for each: Fly refuses any other. */
const CPUS = [1, 2, 4, 6, 8]
const [LEAST_MB_A_CPU, MOST_MB_A_CPU] = [256, 2048]

/** What Fly is told of every machine. */
export interface FlyOptions {
  /** Base of the API, `https://api.machines.dev/v1`. */
  api: string
  app: string
  token: Secret
  image: string
  region: string | undefined
  cpus: number
  memoryMb: number
  /** What Fly's proxy does with a machine that nobody looks at. */
  autostop: 'off' | 'stop' | 'suspend'
  /** Where a preview answers, with `{machine}` and `{app}` to be filled in. */
  previewUrl: string
  /** Marks the machines that are ours among others of the app, those of another Supabase project included. */
  managedBy: string
}

/** The options from the environment. Throws, naming the variable, where one is missing or not what Fly takes. */
export function readFlyOptions(environment: Environment): FlyOptions {
  const cpus = whole(environment, 'FLY_CPUS', 2, 1, 8)
  if (!CPUS.includes(cpus)) throw new Error(`FLY_CPUS must be one of ${CPUS.join(', ')}`)
  const [least, most] = [cpus * LEAST_MB_A_CPU, cpus * MOST_MB_A_CPU]
  const memoryMb = whole(environment, 'FLY_MEMORY_MB', Math.max(1024, least), least, most)
  if (memoryMb % 256 !== 0) throw new Error('FLY_MEMORY_MB must be a multiple of 256')
  const autostop = environment('FLY_AUTOSTOP') || 'suspend'
  if (autostop !== 'off' && autostop !== 'stop' && autostop !== 'suspend') {
    throw new Error('FLY_AUTOSTOP must be off, stop or suspend')
  }
  return {
    api: (environment('FLY_API_URL') || 'https://api.machines.dev/v1').replace(/\/+$/, ''),
    app: required(environment, 'FLY_APP'),
    token: new Secret(required(environment, 'FLY_API_TOKEN')),
    image: required(environment, 'FLY_IMAGE'),
    region: environment('FLY_REGION_WANTED') || undefined,
    cpus,
    memoryMb,
    autostop,
    previewUrl: previewUrl(required(environment, 'FLY_PREVIEW_URL')),
    managedBy: `preview-session@${new URL(required(environment, 'SUPABASE_URL')).host}`,
  }
}

/**
 * A machine's configuration: what runs, how large, how it is reached, watched, measured, restarted and stopped. It is not
 * destroyed when its process ends (`auto_destroy`), since a stop by Fly's proxy is such an end, and a stopped machine is
 * started again at the next look at it. `deploy/fly.toml` says the same, where both have a word for it.
 */
export function flyConfig(options: FlyOptions, config: MachineConfig): Record<string, unknown> {
  return {
    image: options.image,
    env: config.env,
    guest: { cpu_kind: 'shared', cpus: options.cpus, memory_mb: options.memoryMb },
    services: [
      {
        protocol: 'tcp',
        internal_port: 3001,
        ports: [
          { port: 80, handlers: ['http'], force_https: true },
          { port: 443, handlers: ['tls', 'http'] },
        ],
        // A page's websocket stays open, so one connection says that somebody is looking: such a machine counts as full, and
        // Fly's proxy, which stops what an app has too much of, takes another.
        concurrency: { type: 'connections', soft_limit: 1, hard_limit: 200 },
        autostop: options.autostop,
        autostart: true,
        min_machines_running: 0,
      },
    ],
    // Not a check of the service: a broken edit would take the machine, and its own error page, out of routing.
    checks: {
      agent: {
        type: 'http',
        port: 9464,
        method: 'GET',
        path: '/healthz',
        interval: '15s',
        timeout: '5s',
        grace_period: '5s',
      },
    },
    metrics: { port: 9464, path: '/metrics' },
    restart: { policy: 'on-failure', max_retries: 10 },
    stop_config: { signal: 'SIGTERM', timeout: '5s' },
    metadata: { managed_by: options.managedBy, session_id: config.sessionId },
  }
}

function previewUrl(text: string): string {
  if (!text.includes('{machine}') || !URL.canParse(text.replaceAll(/\{(machine|app)\}/g, 'x'))) {
    throw new Error('FLY_PREVIEW_URL must be a URL with {machine} in it')
  }
  return text
}
