-- Constraints and indexes that hold for every adopted row.
alter table public.project_files
  alter column project_id set not null,
  alter column file_path set not null,
  alter column file_type set not null,
  alter column file_type set default 'text',
  alter column version set not null,
  alter column version set default 1,
  alter column is_current_version set not null,
  alter column is_current_version set default true,
  alter column revision set not null,
  alter column encoding set not null,
  alter column encoding set default 'utf-8',
  alter column is_deleted set not null,
  alter column is_deleted set default false;

-- Adds a constraint if it is missing.
create or replace procedure project_sync.add_constraint(name text, definition text) language plpgsql set search_path = '' as $$
begin
  if not exists (select from pg_catalog.pg_constraint
      where conrelid = 'public.project_files'::regclass and conname = name) then
    execute format('alter table public.project_files add constraint %I %s', name, definition);
  end if;
end $$;
call project_sync.add_constraint('project_files_sync_version', 'unique (project_id, file_path, version)');
call project_sync.add_constraint('project_files_sync_project',
  'foreign key (project_id) references public.projects(id) on delete cascade');
-- Deferred: the parent row of a version that is updated in place is inserted after it.
call project_sync.add_constraint('project_files_sync_parent',
  'foreign key (parent_version_id) references public.project_files(id) on delete set null deferrable initially deferred');
-- Deleting a person deletes no file.
call project_sync.add_constraint('project_files_sync_created_by',
  'foreign key (created_by) references public.user_profiles(id) on delete set null');
call project_sync.add_constraint('project_files_sync_last_modified_by',
  'foreign key (last_modified_by) references public.user_profiles(id) on delete set null');
call project_sync.add_constraint('project_files_sync_numbers',
  'check (version >= 1 and revision >= 1 and (size is null or size >= 0))');
call project_sync.add_constraint('project_files_sync_encoding', $$check (encoding in ('utf-8', 'base64'))$$);
call project_sync.add_constraint('project_files_sync_file_type', 'check (octet_length(file_type) <= 255)');
-- A tombstone has no content. A live file has a hash; without content in the table, its content is in storage. (btrim is
-- ten times faster than a regular expression here.)
call project_sync.add_constraint('project_files_sync_content', $$check (case when is_deleted
  then content is null and content_hash is null
  else content_hash is not null and octet_length(content_hash) = 64 and btrim(content_hash, '0123456789abcdef') = '' and (content is null or size is not null) end)$$);
call project_sync.add_constraint('project_files_sync_superseded',
  'check (is_current_version = (superseded_revision is null))');
drop procedure project_sync.add_constraint(text, text);

-- The path is the first column. With the project first, the planner of a table without statistics sees two equally cheap
-- indexes for the rows of one revision and may keep the wrong one in a cached plan.
create unique index if not exists project_files_sync_current
  on public.project_files (file_path, project_id) where is_current_version;
-- Used by list_project_changes, by the digest's recomputation and by the event of a transaction.
create index if not exists project_files_sync_revision on public.project_files (project_id, revision) where is_current_version;
-- Removing a version looks for the version that has it as its parent.
create index if not exists project_files_sync_parent_version
  on public.project_files (parent_version_id) where parent_version_id is not null;

create or replace view public.project_files_current with (security_invoker = true) as
  select * from public.project_files where is_current_version and not is_deleted;
comment on view public.project_files_current is 'project_sync: the live files, each in its newest version';

-- Legacy clients that use the columns `path` and `type` keep working if these columns exist.
do $$
declare
  older text[] := (select array_agg(a.attname::text) from pg_attribute a
    where a.attrelid = 'public.project_files'::regclass and not a.attisdropped and a.attname in ('path', 'type'));
begin
  drop trigger if exists project_sync_legacy_columns on public.project_files;
  if older is null then return; end if;
  execute (select string_agg(format('alter table public.project_files alter column %I drop not null', name), ';') from unnest(older) name);
  execute format($f$
    create or replace function project_sync.sync_legacy_columns() returns trigger language plpgsql set search_path = '' as $body$
    begin
      if tg_op = 'INSERT' then %s
      else %s end if;
      %s
      return new;
    end $body$
  $f$,
  (select string_agg(format('new.file_%1$s := coalesce(new.%1$s, new.file_%1$s);', name), ' ') from unnest(older) name),
  (select string_agg(format('if new.%1$s is distinct from old.%1$s and new.file_%1$s is not distinct from old.file_%1$s then new.file_%1$s := coalesce(new.%1$s, new.file_%1$s); end if;', name), ' ') from unnest(older) name),
  (select string_agg(format('new.%1$s := new.file_%1$s;', name), ' ') from unnest(older) name));
  -- Fires before the triggers that number the versions, whose names sort last.
  create trigger project_sync_legacy_columns before insert or update on public.project_files
    for each row execute function project_sync.sync_legacy_columns();
end $$;
