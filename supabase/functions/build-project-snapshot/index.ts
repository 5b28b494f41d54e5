import { readSettings } from '../_shared/settings.ts'
import { buildProjectSnapshot } from './handler.ts'

Deno.serve(buildProjectSnapshot(readSettings((name) => Deno.env.get(name))))
