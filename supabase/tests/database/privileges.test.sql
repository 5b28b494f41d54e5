-- What the catalogue says: signatures, privileges, pinned search paths, volatility, row security.
begin;
\ir ../helpers.psql
select no_plan();
create view tests.called as
  select p.oid, p.proname, p.pronamespace::regnamespace::text as schema, p.oid::regprocedure::text as signature, p.prosecdef, p.provolatile, p.proconfig
  from pg_proc p where p.prokind = 'f' and (p.pronamespace = 'public'::regnamespace and obj_description(p.oid, 'pg_proc') ~ '^project_sync(_sessions|_service)?:'
    or p.pronamespace = 'project_sync'::regnamespace);
select set_eq('select proname::text from tests.called where schema = ''public''', array['list_project_changes', 'project_head', 'get_project_file',
  'list_current_files', 'upsert_project_file', 'delete_project_file', 'bulk_upsert_project_files', 'bulk_delete_project_files',
  'register_project_asset', 'is_feature_enabled', 'prune_project_files', 'open_preview_session', 'preview_session', 'end_preview_session',
  'restart_preview_session', 'preview_session_started', 'preview_session_gone', 'renew_preview_session', 'sweep_preview_sessions',
  'live_preview_sessions'], 'the functions of the API');
-- A comment of another kind would take a function out of every test below.
select is(obj_description(oid, 'pg_proc') ~ '^project_sync(_sessions|_service)?: ', true, oid::regprocedure || ' says what it is') from pg_proc
  where pronamespace = 'public'::regnamespace and prosrc ~ 'project_sync\.' and prokind = 'f';
select ok(prosecdef and proconfig @> array['search_path=""'], signature || ' is pinned') from tests.called where schema = 'public' and proname <> 'list_current_files';
select ok(proconfig @> array['search_path=""'], signature || ' is pinned') from tests.called where schema = 'project_sync' and prosecdef;
select ok(prosecdef, p.tgfoid::regproc || ' runs with the owner''s rights') from (select distinct tgfoid from pg_trigger where tgrelid in ('public.project_files'::regclass, 'project_sync.counters'::regclass) and not tgisinternal) p
  join pg_proc on pg_proc.oid = p.tgfoid where tgfoid <> 'project_sync.before_truncate'::regproc;
select is(provolatile::text, 's', signature || ' is STABLE') from tests.called
  where schema = 'public' and proname in ('list_project_changes', 'project_head', 'get_project_file', 'list_current_files', 'is_feature_enabled', 'live_preview_sessions');
select is(provolatile::text, 'v', signature || ' is VOLATILE') from tests.called
  where schema = 'public' and proname ~ '^(upsert|delete|bulk|register|prune|open|end|restart|renew|sweep|preview)';
select ok(not has_function_privilege('anon', oid, 'execute'), 'anon may not execute ' || signature) from tests.called;
select ok(not exists (select from aclexplode((select proacl from pg_proc p where p.oid = c.oid)) where grantee = 0), 'PUBLIC may not execute ' || signature) from tests.called c;
select is(has_function_privilege('preview_agent', oid, 'execute'),
  proname in ('list_project_changes', 'project_head', 'get_project_file', 'list_current_files'), 'preview_agent and ' || signature) from tests.called where schema = 'public';
select is(has_function_privilege('authenticated', oid, 'execute'), proname <> 'prune_project_files'
  and obj_description(oid, 'pg_proc') not like 'project_sync_service:%', 'authenticated and ' || signature) from tests.called where schema = 'public';
select ok(has_function_privilege('service_role', oid, 'execute'), 'service_role and ' || signature) from tests.called where schema = 'public';
select set_eq('select proname::text from tests.called where schema = ''project_sync'' and has_function_privilege(''authenticated'', oid, ''execute'')',
  array['is_direct_write', 'may_list', 'caller_id', 'readable_projects', 'writable_projects', 'projects_owned_by', 'parse_project_id', 'flag_is_on'], 'what policies call');
select ok(not has_schema_privilege(role, 'project_sync', 'usage'), role || ' does not enter project_sync')
  from unnest(array['anon', 'authenticated', 'preview_agent', 'authenticator', 'service_role']) role;
select ok(not has_table_privilege(role, format('project_sync.%I', c.relname), privilege), format('%s: no %s on %s', role, privilege, c.relname))
  from unnest(array['anon', 'authenticated', 'preview_agent']) role, unnest(array['select', 'insert', 'update', 'delete']) privilege, pg_class c
  where c.relnamespace = 'project_sync'::regnamespace and c.relkind = 'r';
select is(has_table_privilege(role, 'public.project_files', privilege), wanted ~ privilege, format('%s: %s on project_files', role, privilege))
  from (values ('anon', ''), ('authenticated', 'select insert update delete'), ('preview_agent', 'select'), ('service_role', 'select insert update delete')) r(role, wanted),
    unnest(array['select', 'insert', 'update', 'delete']) privilege;
select ok(not has_table_privilege(role, 'public.project_files', 'truncate'), role || ' may not truncate') from unnest(array['anon', 'authenticated', 'preview_agent']) role;
select ok(relrowsecurity, relname || ' has row security') from pg_class where oid in ('public.project_files'::regclass, 'public.projects'::regclass,
  'public.user_profiles'::regclass, 'public.project_members'::regclass, 'public.feature_flags'::regclass, 'public.preview_sessions'::regclass);
select ok(pg_has_role('authenticator', 'preview_agent', 'member'), 'authenticator becomes preview_agent');
select ok(pg_has_role('preview_agent', 'anon', 'usage'), 'preview_agent has what anon has');
select ok(not rolcanlogin and not rolbypassrls and not rolsuper, 'preview_agent is a plain role') from pg_roles where rolname = 'preview_agent';
select ok(not rolsuper, 'the migrations ran without superuser rights') from pg_roles where rolname = (select tableowner from pg_tables where tablename = 'project_files' and schemaname = 'public');
select ok(not exists (select from pg_publication_tables where pubname = 'supabase_realtime' and tablename = 'project_files'), 'the table is not published by default');
select set_eq($$select policyname::text from pg_policies where schemaname = 'public' and tablename = 'project_files'$$,
  array['project_sync: read', 'project_sync: insert', 'project_sync: update', 'project_sync: delete'], 'policies of project_files');
select has_view('public', 'project_files_current', 'the view');
select ok((select reloptions @> '{security_invoker=true}' from pg_class where relname = 'project_files_current'), 'reads with its caller''s rights');
select col_is_unique('public', 'project_files', array['project_id', 'file_path', 'version'], 'one row a version');
select has_index('public', 'project_files', i, i) from unnest(array['project_files_sync_current', 'project_files_sync_revision']) i;
select has_trigger('public', 'project_files', t, t) from unnest(array['zz_project_sync_check_insert', 'zz_project_sync_check_update', 'zz_project_sync_check_delete', 'zz_project_sync_insert', 'zz_project_sync_inserted', 'zz_project_sync_update',
  'zz_project_sync_updated', 'zz_project_sync_delete', 'zz_project_sync_truncate']) t;
select has_trigger('project_sync', 'counters', 'send_revision_event', 'trigger that sends the event');
select ok(tgdeferrable and tginitdeferred, 'is deferred to the commit') from pg_trigger where tgname = 'send_revision_event';
select ok((select bool_and(c.reloptions is not null) from pg_class c where c.oid in ('project_sync.counters'::regclass, 'project_sync.rate_limits'::regclass)), 'room for HOT updates');
select * from finish();
rollback;
