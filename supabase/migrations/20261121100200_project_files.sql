-- The log of revisions: each row is one version of one file, or the tombstone of a deleted file.
create table if not exists public.project_files (
  id uuid primary key default gen_random_uuid(),
  project_id uuid not null,
  file_path text not null,
  file_type text not null default 'text',
  content text,
  content_hash text,
  version integer not null default 1,
  parent_version_id uuid,
  is_current_version boolean not null default true,
  created_by uuid,
  last_modified_by uuid,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  revision bigint,
  superseded_revision bigint,
  size bigint,
  encoding text default 'utf-8',
  is_deleted boolean default false
);

-- A legacy table gets the missing columns. The adoption migration corrects its rows.
alter table public.project_files
  add column if not exists file_path text,
  add column if not exists file_type text,
  add column if not exists content text,
  add column if not exists content_hash text,
  add column if not exists version integer,
  add column if not exists parent_version_id uuid,
  add column if not exists is_current_version boolean default true,
  add column if not exists created_by uuid,
  add column if not exists last_modified_by uuid,
  add column if not exists created_at timestamptz default now(),
  add column if not exists updated_at timestamptz default now(),
  add column if not exists revision bigint,
  add column if not exists superseded_revision bigint,
  add column if not exists size bigint,
  add column if not exists encoding text default 'utf-8',
  add column if not exists is_deleted boolean default false;

-- One counter per project. A transaction that changes the project's files locks this row until it commits, so revisions
-- commit in order.
create table if not exists project_sync.counters (
  project_id uuid primary key references public.projects(id) on delete cascade,
  revision bigint not null default 0,
  -- XOR of the live files' digests; zeros for an empty project.
  digest bit(256) not null default repeat('0', 256)::bit(256),
  -- Tombstones at or below this revision may be removed: a reader with an older revision gets a reset.
  tombstone_floor bigint not null default 0,
  -- The highest version of any path whose rows were all removed: a path that is created again starts above it.
  version_floor integer not null default 0,
  -- The transaction that wrote `revision`, with its start time: transaction ids can repeat in a restored database.
  taken_by xid8,
  taken_at timestamptz
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 500);

-- Token buckets of the rate limit. They need not survive a crash, so the table is unlogged.
create unlogged table if not exists project_sync.rate_limits (
  project_id uuid not null references public.projects(id) on delete cascade,
  user_id uuid not null,
  tokens numeric not null,
  at timestamptz not null,
  primary key (project_id, user_id)
) with (fillfactor = 20);

comment on column public.project_files.revision is 'The revision that created this version.';
comment on column public.project_files.superseded_revision is 'The revision that replaced this version; null while current.';
comment on column public.project_files.encoding is 'Encoding of content: utf-8 or base64. Content in storage has base64.';
