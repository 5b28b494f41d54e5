-- A legacy table with the faults of live databases: several current rows, missing and wrong hashes, invalid paths.
create table public.user_profiles (id uuid primary key references auth.users(id), full_name text);
create table public.projects (id uuid primary key default gen_random_uuid(), title text not null, user_id uuid not null references public.user_profiles(id));
create table public.project_files (
  id uuid primary key default gen_random_uuid(), project_id uuid not null references public.projects(id) on delete cascade,
  file_path text not null, file_type text, content text, content_hash text,
  version integer not null default 1, parent_version_id uuid references public.project_files(id), is_current_version boolean not null default true,
  created_by uuid references public.user_profiles(id), last_modified_by uuid references public.user_profiles(id),
  created_at timestamptz default now(), updated_at timestamptz default now());
create index on public.project_files (project_id); create index on public.project_files (project_id, file_path); create index on public.project_files (project_id, is_current_version);
create view public.project_files_current as select * from public.project_files where is_current_version = true;
alter table public.project_files enable row level security;
insert into auth.users (id) select md5('u' || n)::uuid from generate_series(1, 500) n;
insert into public.user_profiles (id) select id from auth.users;
insert into public.projects (id, title, user_id) select md5('p' || n)::uuid, 't', md5('u' || (n % 500 + 1))::uuid from generate_series(1, :projects) n;
-- :projects projects of 50 paths in 2 versions. The path's number decides what is wrong with a row.
insert into public.project_files (project_id, file_path, file_type, content, content_hash, version, is_current_version, created_by)
select md5('p' || n % :projects + 1)::uuid,
  case f when 1 then './src/dot.ts' when 2 then 'src\win\back.ts' when 3 then '/abs.ts' when 4 then 'a//b.ts' when 5 then '../up.ts' when 6 then '' when 7 then 'dir/' when 8 then 'src/./x.ts' when 9 then E'tab\there.ts' when 10 then 'node_modules/q/index.js' when 11 then repeat('d/', 2100) || 'deep.ts' when 12 then '.git/config' when 13 then 'src/ünï .ts' when 14 then 'src/dot.ts' else 'src/f' || f || '.ts' end,
  case when f % 7 = 0 then null when f % 5 = 0 then '' else 'typescript' end,
  case when f = 20 and v = 2 then null when f = 21 then encode(sha256((n || 'x')::bytea), 'base64') when f = 22 then E'bell\u0001 and \uFFFD' when f = 23 then null when f = 24 then '' else repeat('line ' || n || ' of ' || f || E'\n', 60) end,
  case when f % 3 = 0 then null when f = 23 then encode(sha256((n||'obj')::bytea), 'hex') when f % 4 = 0 then 'deadbeef' else md5(n::text) end,
  case when f = 30 then 1 when f = 31 then 0 when f = 32 then -v else v end, case when f = 25 then true when f = 26 then false else v = 2 end,
  md5('u' || (n % 500 + 1))::uuid
from generate_series(1, :projects) n, generate_series(1, 50) f, generate_series(1, 2) v;
analyze public.project_files;
