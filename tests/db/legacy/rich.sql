-- The richer of the older shapes: every version a row, `created_by` needed, references that delete with the person.
create table public.user_profiles (id uuid primary key references auth.users(id), full_name text);
create table public.projects (id uuid primary key default gen_random_uuid(), title text not null, user_id uuid not null references public.user_profiles(id));
create table public.project_files (
  id uuid primary key default gen_random_uuid(), project_id uuid not null references public.projects(id) on delete cascade,
  file_path text not null, file_name text, file_type varchar(40), file_size bigint, content text, content_hash varchar(64), encoding text default 'utf8',
  version integer not null default 1, parent_version_id uuid references public.project_files(id), is_current_version boolean not null default true,
  directory_path text, is_directory boolean default false, is_binary boolean default false, ai_analysis jsonb,
  created_by uuid not null references public.user_profiles(id) on delete cascade, last_modified_by uuid references public.user_profiles(id) on delete set null,
  created_at timestamptz default now(), updated_at timestamptz default now(),
  constraint unique_project_file_version unique (project_id, file_path, version)
);
create index idx_project_files_current on public.project_files (project_id, is_current_version);
create view public.project_files_current as select * from public.project_files where is_current_version = true;
alter table public.project_files enable row level security;
create policy "Anyone signed in" on public.project_files for all to authenticated using (auth.uid() is not null) with check (auth.uid() is not null);
create function public.compute_content_hash(content text) returns text language sql as $$ select encode(sha256(convert_to(content, 'UTF8')), 'hex') $$;
create function public.list_current_files(project_uuid uuid) returns table (file_path text, file_type text, content text, content_hash text, version integer, updated_at timestamptz, extra text)
language sql security definer as $$ select file_path, file_type, content, content_hash, version, updated_at, 'old' from public.project_files where project_id = project_uuid and is_current_version $$;
create function public.upsert_project_file(project_uuid uuid, p_file_path text, p_content text, p_file_type text, expected_version integer default null) returns public.project_files
language plpgsql security definer as $$ declare r public.project_files; begin
  update public.project_files set is_current_version = false where project_id = project_uuid and file_path = p_file_path and is_current_version;
  insert into public.project_files (project_id, file_path, content, file_type, version, created_by) values (project_uuid, p_file_path, p_content, p_file_type,
    coalesce((select max(version) from public.project_files f where f.project_id = project_uuid and f.file_path = p_file_path), 0) + 1, auth.uid()) returning * into r;
  return r; end $$;
grant execute on function public.upsert_project_file to authenticated;

insert into auth.users (id) select md5('person ' || w)::uuid from unnest(array['owner', 'stranger']) w;
insert into public.user_profiles (id, full_name) select id, 'x' from auth.users;
insert into public.projects (id, title, user_id) values (md5('project one')::uuid, 'one', md5('person owner')::uuid), (md5('project two')::uuid, 'two', md5('person stranger')::uuid);
insert into public.project_files (project_id, file_path, file_type, content, content_hash, version, is_current_version, created_by, file_size, ai_analysis)
select md5('project one')::uuid, path, type, body, hash, version, current, md5('person owner')::uuid, size, '{"seen": true}' from (values
  ('src/App.tsx', 'typescript', 'v1', 'stale', 1, false, 2), ('src/App.tsx', 'typescript', 'v2', null, 2, false, null), ('src/App.tsx', 'typescript', 'v3', 'wrong', 3, true, 9),
  ('all-current.ts', 'typescript', 'one', null, 1, true, null), ('all-current.ts', 'typescript', 'two', null, 2, true, null),
  ('restored.ts', 'typescript', 'kept', null, 1, true, null), ('restored.ts', 'typescript', 'dropped', null, 2, false, null),
  ('deleted.ts', 'typescript', 'was', null, 1, false, null), ('deleted.ts', 'typescript', null, null, 2, true, null),
  ('logo.png', 'image', null, repeat('A', 64), 1, true, 1234), ('md5.png', 'image', null, repeat('a', 32), 1, true, 1),
  ('src', null, null, null, 1, true, null), ('../evil', 'text', 'evil', null, 1, true, null), ('node_modules/x.js', 'text', 'x', null, 1, true, null)
) f(path, type, body, hash, version, current, size);
insert into public.project_files (project_id, file_path, content, encoding, created_by) values
  (md5('project one')::uuid, 'font.woff', encode('\x00ff10', 'base64'), 'base64', md5('person owner')::uuid), (md5('project one')::uuid, 'odd.txt', 'not base64 %', 'base64', md5('person owner')::uuid);
