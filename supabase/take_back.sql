-- Removes what the migrations installed, without losing files: run as `postgres` in one transaction. Files, tombstones and
-- history stay in their columns; replaced objects are restored. README.md, "Removing it", lists the steps before and after.

-- The publication, and the policies on the tables of Realtime and storage (as their owner, if only the owner may).
do $$
declare
  original_role text := current_setting('role');
  installed record;
begin
  for installed in select * from pg_policies where policyname like 'project_sync:%' loop
    begin
      execute format('drop policy %I on %I.%I', installed.policyname, installed.schemaname, installed.tablename);
    exception when insufficient_privilege then
      perform project_sync.set_role_to_owner(format('%I.%I', installed.schemaname, installed.tablename)::regclass);
      execute format('drop policy %I on %I.%I', installed.policyname, installed.schemaname, installed.tablename);
      perform set_config('role', original_role, true);
    end;
  end loop;
  if exists (select from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'project_files') then
    alter publication supabase_realtime drop table public.project_files;
  end if;
end $$;

-- Triggers, functions, view.
do $$
declare
  installed record;
begin
  for installed in select tgname from pg_trigger where tgrelid = 'public.project_files'::regclass and tgname ~ '^(zz_)?project_sync_' loop
    execute format('drop trigger %I on public.project_files', installed.tgname);
  end loop;
  for installed in select p.oid::regprocedure as signature from pg_proc p
      where p.pronamespace = 'public'::regnamespace and obj_description(p.oid, 'pg_proc') ~ '^project_sync(_sessions|_service)?:' loop
    execute format('drop function %s', installed.signature);
  end loop;
end $$;
-- Sessions contain no user data. Their machines must be removed before (README.md).
drop table if exists public.preview_sessions cascade;
-- Legacy readers of `project_files_current` recognise live files by their content.
comment on view public.project_files_current is null;

-- Rows written by legacy code have no revision.
alter table public.project_files
  alter column revision drop not null,
  drop constraint if exists project_files_sync_valid,
  drop constraint if exists project_files_sync_not_null;
drop index if exists public.project_files_sync_current;

-- Restore replaced objects: functions and policies always; constraints and unique indexes only if the rows allow them.
do $$
declare
  replaced record;
begin
  for replaced in select * from project_sync.replaced order by kind, name loop
    if replaced.kind in ('function', 'policy') then
      execute replaced.definition;
    else
      begin
        execute replaced.definition;
      exception when others then
        raise notice 'cannot restore % %: %', replaced.kind, replaced.name, sqlerrm;
      end;
    end if;
  end loop;
end $$;

drop schema project_sync cascade;
revoke all on public.project_files, public.project_files_current from preview_agent;
revoke usage on schema public from preview_agent;
revoke preview_agent from authenticator;
drop role preview_agent;
