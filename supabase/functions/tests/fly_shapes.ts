/** The problems of a value, each with its place; empty: none. */
type Shape = (value: unknown, at: string) => string[]

const text: Shape = (value, at) => (typeof value === 'string' && value !== '' ? [] : [`${at}: not a string`])
const truth: Shape = (value, at) => (typeof value === 'boolean' ? [] : [`${at}: not a boolean`])
const duration: Shape = (value, at) =>
  Number.isInteger(value) || (typeof value === 'string' && /^\d+(\.\d+)?(ns|us|ms|s|m|h)$/.test(value))
    ? []
    : [`${at}: not a duration`]

function whole(least: number, most = Number.MAX_SAFE_INTEGER): Shape {
  return (value, at) =>
    Number.isInteger(value) && (value as number) >= least && (value as number) <= most
      ? []
      : [`${at}: not a whole number of at least ${least}`]
}

function oneOf(...values: unknown[]): Shape {
  return (value, at) => (values.includes(value) ? [] : [`${at}: not one of ${values.join(', ')}`])
}

function listOf(shape: Shape): Shape {
  return (value, at) =>
    Array.isArray(value) ? value.flatMap((one, index) => shape(one, `${at}[${index}]`)) : [`${at}: not a list`]
}

function mapOf(shape: Shape): Shape {
  return (value, at) =>
    isObject(value)
      ? Object.entries(value).flatMap(([name, one]) => shape(one, `${at}.${name}`))
      : [`${at}: not an object`]
}

/** `name!` is a required field. Fields that are not named are refused, so that a misspelt one is found. */
function fields(shapes: Record<string, Shape>): Shape {
  return (value, at) => {
    if (!isObject(value)) return [`${at}: not an object`]
    const known = new Map(Object.entries(shapes).map(([name, shape]) => [name.replace('!', ''), shape]))
    const missing = Object.keys(shapes).filter((name) => name.endsWith('!') && !(name.slice(0, -1) in value))
    return [
      ...missing.map((name) => `${at}.${name.slice(0, -1)}: missing`),
      ...Object.entries(value).flatMap(
        ([name, one]) => known.get(name)?.(one, `${at}.${name}`) ?? [`${at}.${name}: unknown field`],
      ),
    ]
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const signal = oneOf('SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGKILL', 'SIGUSR1', 'SIGUSR2', 'SIGTERM')

/** Memory depends on the CPUs: 256 to 2048 MB for each shared CPU, in steps of 256. */
const guest: Shape = (value, at) => {
  const wrong = fields({
    cpu_kind: oneOf('shared', 'performance'),
    cpus: oneOf(1, 2, 4, 6, 8),
    memory_mb: whole(256),
    persist_rootfs: oneOf('never', 'restart', 'always'),
    kernel_args: listOf(text),
  })(value, at)
  const { cpus = 1, memory_mb: memory = 256 } = value as { cpus?: number; memory_mb?: number }
  if (memory % 256 !== 0 || memory < cpus * 256 || memory > cpus * 2048) wrong.push(`${at}: not a valid size`)
  return wrong
}

const check = fields({
  'type!': oneOf('tcp', 'http'),
  'port!': whole(1, 65_535),
  kind: oneOf('informational', 'readiness'),
  interval: duration,
  timeout: duration,
  grace_period: duration,
  method: text,
  path: text,
  protocol: oneOf('http', 'https'),
  tls_skip_verify: truth,
  tls_server_name: text,
  headers: listOf(fields({ 'name!': text, 'values!': listOf(text) })),
})

const port: Shape = (value, at) => {
  const wrong = fields({
    port: whole(1, 65_535),
    start_port: whole(1, 65_535),
    end_port: whole(1, 65_535),
    handlers: listOf(oneOf('http', 'tcp', 'tls', 'pg_tls', 'proxy_proto', 'edge_http')),
    force_https: truth,
    http_options: mapOf(() => []),
    tls_options: mapOf(() => []),
    proxy_proto_options: mapOf(() => []),
  })(value, at)
  const { port, handlers } = value as { port?: number; handlers?: string[] }
  if (port === 443 && !handlers?.includes('tls')) wrong.push(`${at}: 443 without tls`)
  return wrong
}

const service = fields({
  'protocol!': oneOf('tcp', 'udp'),
  'internal_port!': whole(1, 65_535),
  ports: listOf(port),
  concurrency: fields({ type: oneOf('connections', 'requests'), soft_limit: whole(1), hard_limit: whole(1) }),
  checks: listOf(check),
  autostop: oneOf('off', 'stop', 'suspend', true, false),
  autostart: truth,
  min_machines_running: whole(0),
  force_instance_key: text,
})

const config = fields({
  'image!': text,
  auto_destroy: truth,
  checks: mapOf(check),
  env: mapOf((value, at) => (typeof value === 'string' ? [] : [`${at}: not a string`])),
  guest,
  init: fields({ exec: listOf(text), entrypoint: listOf(text), cmd: listOf(text), tty: truth, swap_size_mb: whole(0) }),
  metadata: mapOf(text),
  metrics: fields({ 'port!': whole(1, 65_535), 'path!': text, https: truth }),
  restart: fields({ 'policy!': oneOf('no', 'on-failure', 'always'), max_retries: whole(0) }),
  services: listOf(service),
  stop_config: fields({ signal, timeout: duration }),
})

/** The problems of a request to create a machine. */
export const problemsOfCreate = (body: unknown): string[] =>
  fields({
    name: (value, at) => (typeof value === 'string' && /^[a-z0-9-]{1,63}$/.test(value) ? [] : [`${at}: not a name`]),
    region: (value, at) => (typeof value === 'string' && /^[a-z]{3}$/.test(value) ? [] : [`${at}: not a region`]),
    lease_ttl: whole(1),
    skip_launch: truth,
    skip_service_registration: truth,
    'config!': config,
  })(body, 'body')

/** The problems of a request to stop a machine. An empty body is allowed. */
export const problemsOfStop = (body: unknown): string[] => fields({ signal, timeout: duration })(body, 'body')
