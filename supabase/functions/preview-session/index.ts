import { FlyMachines } from '../_shared/fly.ts'
import { LocalMachines } from '../_shared/local.ts'
import { readSettings, required } from '../_shared/settings.ts'
import { previewSession } from './handler.ts'

const settings = readSettings((name) => Deno.env.get(name))
const provider = required(settings.environment, 'MACHINES_PROVIDER')
if (provider !== 'fly' && provider !== 'local') throw new Error('MACHINES_PROVIDER must be `fly` or `local`')
const machines =
  provider === 'fly'
    ? FlyMachines.fromEnvironment(settings.environment)
    : LocalMachines.fromEnvironment(settings.environment)
Deno.serve(previewSession(settings, machines))
