-- The oldest client's columns, `path` and `type`, twice over, with no table of projects at all.
create table public.project_files (
  id uuid primary key default gen_random_uuid(), project_id uuid not null, path text not null, type text not null, content text, user_id uuid, created_by uuid,
  created_at timestamptz default now(), updated_at timestamptz default now()
);
create unique index one_row_a_file on public.project_files (project_id, path);
alter table public.project_files enable row level security;
insert into public.project_files (project_id, path, type, content, created_by) values
  (md5('project one')::uuid, 'a.ts', 'typescript', 'hello', md5('person owner')::uuid), (md5('project one')::uuid, 'b.ts', 'typescript', 'B', md5('person owner')::uuid),
  (md5('project two')::uuid, 'a.ts', 'typescript', 'two', null);
