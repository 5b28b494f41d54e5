import { Database } from '../_shared/database.ts'
import { invalid, Refusal, unauthenticated } from '../_shared/refusal.ts'
import { answering, bearer, body, json } from '../_shared/serve.ts'
import type { Settings } from '../_shared/settings.ts'
import { snapshotOf } from '../_shared/snapshot.ts'
import { Storage } from '../_shared/storage.ts'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * `POST {project_id, rebuild?}` with the service key: the project's snapshot, made where none of this state is there.
 * Answers `{object, revision, snapshot_url, snapshot_expires_at, built, bytes?}`.
 */
export function buildProjectSnapshot(settings: Settings): (request: Request) => Promise<Response> {
  const database = new Database(settings)
  const storage = new Storage(settings)
  return answering(async (request) => {
    if (request.method !== 'POST') throw new Refusal(405, 'method_not_allowed', 'POST is what this function takes')
    // A secret key of the newer kind is no bearer token; it comes as `apikey` alone.
    const key = bearer(request) ?? request.headers.get('apikey')
    if (!key || !(await settings.serviceKey.equals(key))) throw unauthenticated("the service's own key is needed")
    const { project_id: projectId, rebuild = false } = await body(request)
    if (typeof projectId !== 'string' || !UUID.test(projectId)) throw invalid('project_id is no UUID')
    if (typeof rebuild !== 'boolean') throw invalid('rebuild is neither true nor false')
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
