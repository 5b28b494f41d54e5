import type { MachineConfig } from './machines.ts'
import { Secret } from './secret.ts'
import { type Environment, required, wholeNumber } from './settings.ts'

/** The CPUs of a shared machine, and megabytes for each CPU: Fly refuses other values. */
const CPUS = [1, 2, 4, 6, 8]
const [MIN_MB_PER_CPU, MAX_MB_PER_CPU] = [256, 2048]

/** What Fly's proxy does with a machine without connections. */
export const AUTOSTOP_MODES = ['off', 'stop', 'suspend'] as const
export type AutostopMode = (typeof AUTOSTOP_MODES)[number]

/** The port on which the agent's proxy serves the preview, and the one of its health checks and metrics. */
const PREVIEW_PORT = 3001
const STATUS_PORT = 9464

/** The options for all machines. */
export interface FlyOptions {
  /** Base of the API, `https://api.machines.dev/v1`. */
  api: string
  app: string
  token: Secret
  image: string
  region: string | undefined
  cpus: number
  memoryMb: number
  autostop: AutostopMode
  /** The address of a preview, with `{machine}` and `{app}` as placeholders. */
  previewUrl: string
  /** The host names of all previews, in the form of the agent's setting PREVIEW_HOSTS. */
  previewHosts: string
  /** Marks the machines of this Supabase project among the app's others. */
  managedBy: string
}

/** Reads the options. Throws, naming the variable, where one is missing or has a value that Fly refuses. */
export function readFlyOptions(environment: Environment): FlyOptions {
  const cpus = wholeNumber(environment, 'FLY_CPUS', 2, 1, 8)
  if (!CPUS.includes(cpus)) throw new Error(`FLY_CPUS must be one of ${CPUS.join(', ')}`)
  const [least, most] = [cpus * MIN_MB_PER_CPU, cpus * MAX_MB_PER_CPU]
  const memoryMb = wholeNumber(environment, 'FLY_MEMORY_MB', Math.max(1024, least), least, most)
  if (memoryMb % 256 !== 0) throw new Error('FLY_MEMORY_MB must be a multiple of 256')
  const autostop = environment('FLY_AUTOSTOP') || 'suspend'
  if (!isAutostopMode(autostop)) throw new Error(`FLY_AUTOSTOP must be one of ${AUTOSTOP_MODES.join(', ')}`)
  const app = required(environment, 'FLY_APP')
  const previewUrl = checkedPreviewUrl(required(environment, 'FLY_PREVIEW_URL'))
  return {
    api: (environment('FLY_API_URL') || 'https://api.machines.dev/v1').replace(/\/+$/, ''),
    app,
    token: new Secret(required(environment, 'FLY_API_TOKEN')),
    image: required(environment, 'FLY_IMAGE'),
    region: environment('FLY_REGION_WANTED') || undefined,
    cpus,
    memoryMb,
    autostop,
    previewUrl,
    previewHosts: hostsOf(previewUrl, app),
    managedBy: `preview-session@${new URL(required(environment, 'SUPABASE_URL')).host}`,
  }
}

/** The agent answers within milliseconds of its start, so the grace period is short: until the check passes, Fly routes nothing. */
const AGENT_CHECK = {
  type: 'http',
  port: STATUS_PORT,
  method: 'GET',
  path: '/healthz',
  interval: '15s',
  timeout: '5s',
  grace_period: '1s',
}

/**
 * A machine's configuration. The machine is not destroyed when its process ends (`auto_destroy`), since a stop by Fly's proxy
 * ends the process too, and a stopped machine is started again by the next request. `deploy/fly.toml` has the same values.
 */
export function flyConfig(options: FlyOptions, config: MachineConfig): Record<string, unknown> {
  return {
    image: options.image,
    env: { ...config.env, PREVIEW_HOSTS: options.previewHosts },
    guest: { cpu_kind: 'shared', cpus: options.cpus, memory_mb: options.memoryMb },
    services: [
      {
        protocol: 'tcp',
        internal_port: PREVIEW_PORT,
        ports: [
          { port: 80, handlers: ['http'], force_https: true },
          { port: 443, handlers: ['tls', 'http'] },
        ],
        // An open page keeps a websocket open. With a soft limit of one connection its machine counts as full, so that Fly's
        // proxy, which stops machines below their limit, does not stop it.
        concurrency: { type: 'connections', soft_limit: 1, hard_limit: 200 },
        autostop: options.autostop,
        autostart: true,
        min_machines_running: 0,
        // The agent's own health, not the dev server's: while that is broken, the agent's proxy shows the reason, and the machine
        // has to stay in routing for it.
        checks: [AGENT_CHECK],
      },
    ],
    // The same check for `fly checks`, and for machines without traffic.
    checks: { agent: AGENT_CHECK },
    metrics: { port: STATUS_PORT, path: '/metrics' },
    restart: { policy: 'on-failure', max_retries: 10 },
    stop_config: { signal: 'SIGTERM', timeout: '5s' },
    metadata: { managed_by: options.managedBy, session_id: config.sessionId },
  }
}

function isAutostopMode(text: string): text is AutostopMode {
  return (AUTOSTOP_MODES as readonly string[]).includes(text)
}

function checkedPreviewUrl(text: string): string {
  if (!text.includes('{machine}') || !URL.canParse(text.replaceAll(/\{(machine|app)\}/g, 'x'))) {
    throw new Error('FLY_PREVIEW_URL must be a URL that contains {machine}')
  }
  return text
}

/**
 * The hosts of the previews, known before a machine has its id: the domain after the label with `{machine}`, with a leading
 * dot, or the whole host where `{machine}` is in the path.
 */
function hostsOf(previewUrl: string, app: string): string {
  const labels = new URL(
    previewUrl.replaceAll('{app}', app).replaceAll('{machine}', 'machine-placeholder'),
  ).hostname.split('.')
  const machine = labels.findLastIndex((label) => label.includes('machine-placeholder'))
  if (machine < 0) return labels.join('.')
  const domain = labels.slice(machine + 1)
  if (domain.length === 0) throw new Error('FLY_PREVIEW_URL must have a domain after {machine}')
  return `.${domain.join('.')}`
}
