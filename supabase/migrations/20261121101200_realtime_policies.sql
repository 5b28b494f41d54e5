-- Who may join a project's two private topics, and who may send on them. Whoever may send on a topic may forge every event
-- on it (the server asks with a row that has only topic and extension), so the agent sends on its status topic alone.
-- (The table is Realtime's: see become_owner.)
do $$
declare
  me text := current_setting('role');
begin
  if to_regclass('realtime.messages') is null then
    raise notice 'no realtime schema: saves work, events are not sent';
    return;
  end if;
  for attempt in 1..2 loop
    begin
      drop policy if exists "project_sync: agent reads its own topics" on realtime.messages;
      create policy "project_sync: agent reads its own topics" on realtime.messages for select to preview_agent
        using (extension = 'broadcast' and (select realtime.topic()) in (
          select t.topic from project_sync.readable_projects() p(id),
            lateral (values ('project:' || p.id), ('project:' || p.id || ':status')) t(topic)));
      drop policy if exists "project_sync: agent sends its status" on realtime.messages;
      create policy "project_sync: agent sends its status" on realtime.messages for insert to preview_agent
        with check (extension = 'broadcast' and (select realtime.topic()) in (
          select 'project:' || p.id || ':status' from project_sync.readable_projects() p(id)));
      drop policy if exists "project_sync: who reads a project reads its topics" on realtime.messages;
      create policy "project_sync: who reads a project reads its topics" on realtime.messages for select to authenticated
        using (extension = 'broadcast' and (select realtime.topic()) in (
          select t.topic from project_sync.readable_projects() p(id),
            lateral (values ('project:' || p.id), ('project:' || p.id || ':status')) t(topic)));
      drop policy if exists "project_sync: writers send where the flag is on" on realtime.messages;
      create policy "project_sync: writers send where the flag is on" on realtime.messages for insert to authenticated
        with check (extension = 'broadcast'
          and (select project_sync.flag_is_on('FSYNC_KEEP_CLIENT_BROADCAST', project_sync.caller_id()))
          and (select realtime.topic()) in (select 'project:' || p.id from project_sync.writable_projects() p(id)));
      exit;
    exception when insufficient_privilege then
      if attempt = 2 then raise; end if;
      perform project_sync.become_owner('realtime.messages');
    end;
  end loop;
  perform set_config('role', me, true);
  execute format('revoke usage on schema project_sync from %s', (select c.relowner::regrole from pg_class c where c.oid = 'realtime.messages'::regclass));
end $$;
