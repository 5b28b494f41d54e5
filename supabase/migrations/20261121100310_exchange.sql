-- Step 3 of the adoption, all in one transaction under an exclusive lock: the rows written since step 2 are adopted, the
-- legacy constraints and policies are replaced, and the triggers are installed. Before it commits, the legacy code works as
-- always; after it, the triggers keep every write consistent, also those of the legacy functions. Constraints are added
-- NOT VALID and checked by the next migration, without blocking anyone.

select set_config('statement_timeout', '0', true);
do $$
begin
  -- Short attempts: while an exclusive lock is waited for, readers wait too.
  perform set_config('lock_timeout', '300ms', true);
  for attempt in 1..60 loop
    begin
      lock table public.project_files in access exclusive mode;
      exit;
    exception when lock_not_available or deadlock_detected then
      if attempt = 60 then
        raise exception using errcode = '55P03', message = 'cannot lock project_files: other transactions use it',
          hint = 'run the migrations again when no long transaction uses the table';
      end if;
      perform pg_sleep(0.5);
    end;
  end loop;
  perform project_sync.adopt_projects();
  perform project_sync.adopt_rows(project_sync.projects_to_adopt());
end $$;
-- Other tables: projects.
select set_config('lock_timeout', '10s', true);

-- Legacy policies are removed: permissive policies are combined with OR, so an open one would stay effective.
do $$
declare
  legacy record;
begin
  for legacy in select * from pg_policies where schemaname = 'public' and tablename = 'project_files'
      and policyname not like 'project_sync: %'
  loop
    insert into project_sync.replaced (kind, name, definition) values ('policy', legacy.policyname,
      format('create policy %I on public.project_files as %s for %s to %s', legacy.policyname, legacy.permissive, legacy.cmd,
        (select string_agg(case role when 'public' then 'public' else quote_ident(role) end, ', ') from unnest(legacy.roles) role))
      || coalesce(format(' using (%s)', legacy.qual), '') || coalesce(format(' with check (%s)', legacy.with_check), ''))
      on conflict do nothing;
    execute format('drop policy %I on public.project_files', legacy.policyname);
  end loop;
end $$;

-- A legacy view would prevent changes of column types; it is created again below.
do $$
begin
  if coalesce(obj_description(to_regclass('public.project_files_current'), 'pg_class'), '') not like 'project_sync:%' then
    drop view if exists public.project_files_current;
  end if;
end $$;

-- Remove unique constraints that allow only one row per path (there would be no history) and foreign keys that make deletes
-- slow: authors and parents are kept for information only, and may name a person or a version that was deleted.
do $$
declare
  legacy record;
begin
  for legacy in
    select c.conname, c.contype, pg_get_constraintdef(c.oid) as definition from pg_constraint c
    where c.conrelid = 'public.project_files'::regclass and c.conname not like 'project_files_sync_%'
      and (c.contype, (select string_agg(a.attname, ' ' order by a.attname) from pg_attribute a
          where a.attrelid = c.conrelid and a.attnum = any(c.conkey)))
        in (('f', 'project_id'), ('f', 'parent_version_id'), ('f', 'created_by'), ('f', 'last_modified_by'),
          ('u', 'file_path project_id'), ('u', 'path project_id'), ('u', 'file_path project_id version'))
  loop
    insert into project_sync.replaced (kind, name, definition) values ('constraint', legacy.conname,
      format('alter table public.project_files add constraint %I %s', legacy.conname, legacy.definition)) on conflict do nothing;
    execute format('alter table public.project_files drop constraint %I', legacy.conname);
  end loop;
  for legacy in
    select i.indexrelid::regclass as index, c.relname, pg_get_indexdef(i.indexrelid) as definition
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = 'public.project_files'::regclass and i.indisunique and not i.indisprimary
      and c.relname not like 'project_files_sync_%'
      and not exists (select from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any(i.indkey)
        and a.attname not in ('project_id', 'file_path', 'path', 'is_current_version'))
  loop
    insert into project_sync.replaced (kind, name, definition) values ('index', legacy.relname, legacy.definition) on conflict do nothing;
    execute format('drop index %s', legacy.index);
  end loop;
end $$;

alter table public.project_files alter column created_by drop not null;
do $$
begin
  alter table public.project_files alter column content set compression lz4;
exception when feature_not_supported then
  raise notice 'this server has no lz4: contents are compressed with pglz';
end $$;
-- Every save inserts a row and updates another, so the table grows steadily: vacuum and analyze by small steps. The update
-- cannot be HOT, because is_current_version is in the conditions of two indexes.
alter table public.project_files set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
  autovacuum_analyze_scale_factor = 0.02);
do $$
declare
  short text;
begin
  for short in select a.attname from pg_attribute a where a.attrelid = 'public.project_files'::regclass
      and a.attname in ('file_path', 'file_type', 'content_hash', 'encoding') and a.atttypid <> 'text'::regtype
  loop
    execute format('alter table public.project_files alter column %I type text', short);
  end loop;
end $$;

alter table public.project_files
  alter column file_type set default 'text',
  alter column version set default 1,
  alter column is_current_version set default true,
  alter column encoding set default 'utf-8',
  alter column is_deleted set default false;

-- The path is the first column. With the project first, the planner of a table without statistics sees two equally cheap
-- indexes for the rows of one revision and may keep the wrong one in a cached plan.
create unique index if not exists project_files_sync_current
  on public.project_files (file_path, project_id) where is_current_version;
-- Used by list_project_changes, by the digest's recomputation and by the event of a transaction.
create index if not exists project_files_sync_revision on public.project_files (project_id, revision) where is_current_version;
create unique index if not exists project_files_sync_version on public.project_files (project_id, file_path, version);

-- Adds a constraint if it is missing, without looking at the existing rows.
create or replace procedure project_sync.add_constraint(name text, definition text) language plpgsql set search_path = '' as $$
begin
  if not exists (select from pg_catalog.pg_constraint
      where conrelid = 'public.project_files'::regclass and conname = name) then
    execute format('alter table public.project_files add constraint %I %s', name, definition);
  end if;
end $$;
call project_sync.add_constraint('project_files_sync_version', 'unique using index project_files_sync_version');
call project_sync.add_constraint('project_files_sync_project',
  'foreign key (project_id) references public.projects(id) on delete cascade not valid');
alter table public.project_files drop constraint if exists project_files_sync_valid;
-- Until the next migration has made the columns NOT NULL.
do $$
begin
  if exists (select from pg_attribute a where a.attrelid = 'public.project_files'::regclass and not a.attnotnull
      and a.attname in ('project_id', 'file_path', 'file_type', 'version', 'is_current_version', 'revision', 'encoding', 'is_deleted')) then
    call project_sync.add_constraint('project_files_sync_not_null', 'check (project_id is not null and file_path is not null
      and file_type is not null and version is not null and is_current_version is not null and revision is not null
      and encoding is not null and is_deleted is not null) not valid');
  end if;
end $$;
drop procedure project_sync.add_constraint(text, text);

create or replace view public.project_files_current with (security_invoker = true) as
  select * from public.project_files where is_current_version and not is_deleted;
comment on view public.project_files_current is 'project_sync: the live files, each in its newest version';

-- Legacy clients that use the columns `path` and `type` keep working if these columns exist.
do $$
declare
  legacy text[] := (select array_agg(a.attname::text) from pg_attribute a
    where a.attrelid = 'public.project_files'::regclass and not a.attisdropped and a.attname in ('path', 'type'));
begin
  drop trigger if exists project_sync_legacy_columns on public.project_files;
  if legacy is null then return; end if;
  execute (select string_agg(format('alter table public.project_files alter column %I drop not null', name), ';') from unnest(legacy) name);
  execute format($f$
    create or replace function project_sync.sync_legacy_columns() returns trigger language plpgsql set search_path = '' as $body$
    begin
      if tg_op = 'INSERT' then %s
      else %s end if;
      %s
      return new;
    end $body$
  $f$,
  (select string_agg(format('new.file_%1$s := coalesce(new.%1$s, new.file_%1$s);', name), ' ') from unnest(legacy) name),
  (select string_agg(format('if new.%1$s is distinct from old.%1$s and new.file_%1$s is not distinct from old.file_%1$s then new.file_%1$s := coalesce(new.%1$s, new.file_%1$s); end if;', name), ' ') from unnest(legacy) name),
  (select string_agg(format('new.%1$s := new.file_%1$s;', name), ' ') from unnest(legacy) name));
  -- Fires before the triggers that number the versions, whose names sort last.
  create trigger project_sync_legacy_columns before insert or update on public.project_files
    for each row execute function project_sync.sync_legacy_columns();
  -- Adopted rows of clients that knew only the new names, or only the old ones.
  execute (select string_agg(format('update public.project_files f set %1$I = f.file_%1$s where f.%1$I is distinct from f.file_%1$s and f.is_current_version', name), ';')
    from unnest(legacy) name);
end $$;

-- Direct writes by people: fires before the other triggers of these migrations (by its name).
create or replace trigger zz_project_sync_check_insert before insert on public.project_files for each row
  when (row_security_active('public.project_files'::regclass)) execute function project_sync.check_direct_insert();
create or replace trigger zz_project_sync_check_update before update on public.project_files for each row
  when (row_security_active('public.project_files'::regclass)) execute function project_sync.check_direct_update();
create or replace trigger zz_project_sync_check_delete before delete on public.project_files for each row
  when (row_security_active('public.project_files'::regclass)) execute function project_sync.check_direct_delete();

-- The rules for all writes that do not come from the functions of these migrations.
create or replace trigger zz_project_sync_insert before insert on public.project_files for each row
  when (project_sync.is_direct_write()) execute function project_sync.before_insert();
create or replace trigger zz_project_sync_inserted after insert on public.project_files
  referencing new table as inserted for each statement
  when (project_sync.is_direct_write()) execute function project_sync.after_insert();
create or replace trigger zz_project_sync_update before update on public.project_files for each row
  when (project_sync.is_direct_write()) execute function project_sync.before_update();
drop trigger if exists zz_project_sync_history on public.project_files;
create or replace trigger zz_project_sync_updated after update on public.project_files
  referencing old table as before_rows new table as after_rows for each statement
  when (project_sync.is_direct_write()) execute function project_sync.after_update();
create or replace trigger zz_project_sync_delete before delete on public.project_files for each row
  when (project_sync.is_direct_write()) execute function project_sync.before_delete();
create or replace trigger zz_project_sync_truncate before truncate on public.project_files
  for each statement execute function project_sync.before_truncate();

-- The event is sent once, at the end of the transaction, because a transaction creates one revision of a project.
do $$
begin
  if not exists (select from pg_trigger where tgrelid = 'project_sync.counters'::regclass and tgname = 'send_revision_event') then
    create constraint trigger send_revision_event after update on project_sync.counters deferrable initially deferred
      for each row when (old.revision < new.revision) execute function project_sync.send_revision_event();
  end if;
end $$;

-- Row security.
alter table public.project_files enable row level security;
revoke all on public.project_files, public.project_files_current from public, anon, authenticated, preview_agent;
grant select, insert, update, delete on public.project_files to authenticated, service_role;
grant select on public.project_files_current to authenticated, service_role, preview_agent;
-- postgres_changes needs this grant and the policy; without the grant, a joined channel gets an error.
grant select on public.project_files to preview_agent;

drop policy if exists "project_sync: read" on public.project_files;
create policy "project_sync: read" on public.project_files for select to authenticated, preview_agent
  using (project_id in (select project_sync.readable_projects()));
-- Legacy clients write rows directly; the triggers enforce the rules for them.
drop policy if exists "project_sync: insert" on public.project_files;
create policy "project_sync: insert" on public.project_files for insert to authenticated
  with check (project_id in (select project_sync.writable_projects()));
drop policy if exists "project_sync: update" on public.project_files;
create policy "project_sync: update" on public.project_files for update to authenticated
  using (project_id in (select project_sync.writable_projects()))
  with check (project_id in (select project_sync.writable_projects()));
drop policy if exists "project_sync: delete" on public.project_files;
create policy "project_sync: delete" on public.project_files for delete to authenticated
  using (project_id in (select project_sync.writable_projects()));
