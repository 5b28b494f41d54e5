import { Database } from '../_shared/database.ts'
import type { Machines } from '../_shared/machines.ts'
import { invalid, Refusal, unauthenticated } from '../_shared/refusal.ts'
import { bearer, body, json, pathBelow, withErrors } from '../_shared/serve.ts'
import { Sessions } from '../_shared/session.ts'
import type { Settings } from '../_shared/settings.ts'
import { Tokens } from '../_shared/token.ts'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * `POST {project_id, another?}` opens a session, `GET …/<id>` returns it, `DELETE …/<id>` ends it: all with a person's token.
 * `POST …/renew` needs an agent's token, `POST …/sweep` the service key.
 */
export function previewSession(settings: Settings, machines: Machines): (request: Request) => Promise<Response> {
  const tokens = new Tokens(settings)
  const sessions = new Sessions(settings, new Database(settings), tokens, machines)
  return withErrors(async (request) => {
    const path = pathBelow(request, 'preview-session')
    const at = `${request.method} ${path.join('/')}`
    if (at === 'POST ') {
      const person = await tokens.person(bearer(request))
      const { project_id: projectId, another = false } = await body(request)
      if (typeof projectId !== 'string' || !UUID.test(projectId)) throw invalid('project_id is not a UUID')
      if (typeof another !== 'boolean') throw invalid('another must be true or false')
      const session = await sessions.create(person, projectId, another)
      return json(session.state === 'running' ? 200 : 202, session)
    }
    if (at === 'POST renew') {
      const scope = await tokens.agent(bearer(request))
      return json(200, await sessions.renew(scope, await body(request)))
    }
    if (at === 'POST sweep') {
      const key = bearer(request) ?? request.headers.get('apikey')
      if (!key || !(await settings.serviceKey.equals(key))) throw unauthenticated('the service key is needed')
      return json(200, await sessions.sweep())
    }
    const [id] = path
    if (path.length === 1 && id && UUID.test(id) && (request.method === 'GET' || request.method === 'DELETE')) {
      const person = await tokens.person(bearer(request))
      const session = request.method === 'GET' ? await sessions.status(person, id) : await sessions.end(person, id)
      return json(session.state === 'ending' ? 202 : 200, session)
    }
    throw new Refusal(404, 'not_found', 'not found')
  })
}
