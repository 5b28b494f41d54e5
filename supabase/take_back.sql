-- Takes the migrations back, as far as can be without losing anybody's work: run as `postgres`, in one transaction.
-- The files stay, tombstones and history included, in the columns that they have; what was replaced comes back as it was.
-- README.md, "Taking it back", says what to do before and after.

-- Publication, and the policies on Realtime's and storage's tables: as the owner, where only the owner may.
do $$
declare
  me text := current_setting('role');
  ours record;
begin
  for ours in select * from pg_policies where policyname like 'project_sync:%' loop
    begin
      execute format('drop policy %I on %I.%I', ours.policyname, ours.schemaname, ours.tablename);
    exception when insufficient_privilege then
      perform project_sync.become_owner(format('%I.%I', ours.schemaname, ours.tablename)::regclass);
      execute format('drop policy %I on %I.%I', ours.policyname, ours.schemaname, ours.tablename);
      perform set_config('role', me, true);
    end;
  end loop;
  if exists (select from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'project_files') then
    alter publication supabase_realtime drop table public.project_files;
  end if;
end $$;

-- Triggers, functions, view.
do $$
declare
  ours record;
begin
  for ours in select tgname from pg_trigger where tgrelid = 'public.project_files'::regclass and tgname ~ '^(zz_)?project_sync_' loop
    execute format('drop trigger %I on public.project_files', ours.tgname);
  end loop;
  for ours in select p.oid::regprocedure as signature from pg_proc p
      where p.pronamespace = 'public'::regnamespace and obj_description(p.oid, 'pg_proc') ~ '^project_sync(_sessions|_service)?:' loop
    execute format('drop function %s', ours.signature);
  end loop;
end $$;
-- Sessions hold nobody's work. Their machines are to be gone by now (README.md).
drop table if exists public.preview_sessions cascade;
-- Older readers of `project_files_current` know no column for deletion: they look for content.
comment on view public.project_files_current is null;

-- Rows that older code writes have no revision.
alter table public.project_files
  alter column revision drop not null,
  drop constraint if exists project_files_sync_numbers,
  drop constraint if exists project_files_sync_encoding,
  drop constraint if exists project_files_sync_content,
  drop constraint if exists project_files_sync_superseded;
drop index if exists public.project_files_sync_current;

-- What was replaced: functions and policies come back; constraints and unique indexes only where the rows still allow them.
do $$
declare
  was record;
begin
  for was in select * from project_sync.replaced order by kind, name loop
    if was.kind in ('function', 'policy') then
      execute was.definition;
    else
      begin
        execute was.definition;
      exception when others then
        raise notice '% % does not come back: %', was.kind, was.name, sqlerrm;
      end;
    end if;
  end loop;
end $$;

drop schema project_sync cascade;
revoke all on public.project_files, public.project_files_current from preview_agent;
revoke usage on schema public from preview_agent;
revoke preview_agent from authenticator;
drop role preview_agent;
