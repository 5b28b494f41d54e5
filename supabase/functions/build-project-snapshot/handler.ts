import { Database } from '../_shared/database.ts'
import { invalid, Refusal, unauthenticated } from '../_shared/refusal.ts'
import { bearer, body, json, withErrors } from '../_shared/serve.ts'
import type { Settings } from '../_shared/settings.ts'
import { snapshotOf } from '../_shared/snapshot.ts'
import { Storage } from '../_shared/storage.ts'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * `POST {project_id, rebuild?}` with the service key: returns the project's snapshot, and builds it where there is none of this state.
 * Answers `{object, revision, snapshot_url, snapshot_expires_at, built, bytes?}`.
 */
export function buildProjectSnapshot(settings: Settings): (request: Request) => Promise<Response> {
  const database = new Database(settings)
  const storage = new Storage(settings)
  return withErrors(async (request) => {
    if (request.method !== 'POST') throw new Refusal(405, 'method_not_allowed', 'only POST is allowed')
    // A newer secret key is not a bearer token; it is sent as `apikey` only.
    const key = bearer(request) ?? request.headers.get('apikey')
    if (!key || !(await settings.serviceKey.equals(key))) throw unauthenticated('the service key is needed')
    const { project_id: projectId, rebuild = false } = await body(request)
    if (typeof projectId !== 'string' || !UUID.test(projectId)) throw invalid('project_id is not a UUID')
    if (typeof rebuild !== 'boolean') throw invalid('rebuild must be true or false')
    const expiresAt = new Date(Date.now() + settings.snapshotUrlSeconds * 1000).toISOString()
    const { object, revision, url, built, bytes } = await snapshotOf(
      database,
      storage,
      projectId,
      settings.snapshotUrlSeconds,
      rebuild,
    )
    return json(200, { object, revision, snapshot_url: url, snapshot_expires_at: expiresAt, built, bytes })
  })
}
