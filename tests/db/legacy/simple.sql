-- The simpler of the older shapes: one row a file, `checksum` and `size_bytes`, nobody noted.
create table public.user_profiles (id uuid primary key);
create table public.projects (id uuid primary key default gen_random_uuid(), owner_id uuid references public.user_profiles(id));
create table public.project_files (
  id uuid primary key default gen_random_uuid(), project_id uuid references public.projects(id) on delete cascade, file_path text not null, content text, file_type text,
  size_bytes integer, version integer default 1, parent_version_id uuid references public.project_files(id), checksum text, metadata jsonb,
  created_at timestamptz default now(), updated_at timestamptz default now(), unique (project_id, file_path)
);
insert into auth.users (id) select md5('person owner')::uuid;
insert into public.user_profiles values (md5('person owner')::uuid);
insert into public.projects values (md5('project one')::uuid, md5('person owner')::uuid);
insert into public.project_files (project_id, file_path, content, file_type, version, checksum, size_bytes, metadata) values
  (md5('project one')::uuid, 'a.ts', 'hello', null, null, 'md5-of-something', 3, '{"kept": 1}'), (md5('project one')::uuid, 'b.png', null, 'image', 4, repeat('b', 64), 77, null),
  (md5('project one')::uuid, 'c.txt', '', 'text', 7, null, null, null);
