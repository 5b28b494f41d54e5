-- Who may join a project's two private topics, and who may send on them. A sender on a topic can forge every event of it
-- (Realtime checks only topic and extension), so the agent may send only on its status topic.
-- (Realtime owns the table: see set_role_to_owner.)
do $$
declare
  original_role text := current_setting('role');
begin
  if to_regclass('realtime.messages') is null then
    raise notice 'no realtime schema: saves work, events are not sent';
    return;
  end if;
  for attempt in 1..2 loop
    begin
      drop policy if exists "project_sync: agent joins its topics" on realtime.messages;
      create policy "project_sync: agent joins its topics" on realtime.messages for select to preview_agent
        using (extension = 'broadcast' and (select realtime.topic()) in (
          select t.topic from project_sync.readable_projects() p(id),
            lateral (values ('project:' || p.id), ('project:' || p.id || ':status')) t(topic)));
      drop policy if exists "project_sync: agent sends its status" on realtime.messages;
      create policy "project_sync: agent sends its status" on realtime.messages for insert to preview_agent
        with check (extension = 'broadcast' and (select realtime.topic()) in (
          select 'project:' || p.id || ':status' from project_sync.readable_projects() p(id)));
      drop policy if exists "project_sync: readers join project topics" on realtime.messages;
      create policy "project_sync: readers join project topics" on realtime.messages for select to authenticated
        using (extension = 'broadcast' and (select realtime.topic()) in (
          select t.topic from project_sync.readable_projects() p(id),
            lateral (values ('project:' || p.id), ('project:' || p.id || ':status')) t(topic)));
      drop policy if exists "project_sync: writers send if the flag is on" on realtime.messages;
      create policy "project_sync: writers send if the flag is on" on realtime.messages for insert to authenticated
        with check (extension = 'broadcast'
          and (select project_sync.flag_is_on('FSYNC_KEEP_CLIENT_BROADCAST', project_sync.caller_id()))
          and (select realtime.topic()) in (select 'project:' || p.id from project_sync.writable_projects() p(id)));
      exit;
    exception when insufficient_privilege then
      if attempt = 2 then raise; end if;
      perform project_sync.set_role_to_owner('realtime.messages');
    end;
  end loop;
  perform set_config('role', original_role, true);
  execute format('revoke usage on schema project_sync from %s', (select c.relowner::regrole from pg_class c where c.oid = 'realtime.messages'::regclass));
end $$;
