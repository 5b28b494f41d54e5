-- Feature flags: off, on for a percentage of subjects, or on for named subjects.
create table if not exists public.feature_flags (
  id uuid primary key default gen_random_uuid(),
  flag_key text not null unique,
  description text,
  is_enabled boolean not null default false,
  rollout_percentage integer default 0 check (rollout_percentage between 0 and 100),
  environment text not null default 'production',
  target_user_ids uuid[] default '{}',
  metadata jsonb default '{}',
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);
alter table public.feature_flags enable row level security;
revoke all on public.feature_flags from public, anon, authenticated;
grant select, insert, update, delete on public.feature_flags to service_role;

select project_sync.drop_legacy_functions('is_feature_enabled');

-- All flags start off: an operator turns them on step by step (docs/operations.md). Existing flags keep their values.
insert into public.feature_flags (flag_key, description, is_enabled, rollout_percentage) values
  ('FSYNC_USE_RPC', 'Editors save through the functions', false, 0),
  ('FSYNC_SERVER_BROADCASTS', 'The database sends an event for each revision; by project', false, 0),
  ('FSYNC_SNAPSHOT_HYDRATION', 'Containers start from a snapshot', false, 0),
  ('FSYNC_BULK_GENERATION', 'Generated projects are saved in one bulk', false, 0),
  ('FSYNC_KEEP_CLIENT_BROADCAST', 'Editors may send on a project''s topic themselves', false, 0)
on conflict (flag_key) do nothing;

-- The percentage from which on a flag is on for a subject: 0 to 99, always the same for the same flag and subject.
create or replace function project_sync.flag_bucket(flag text, subject uuid) returns integer
language plpgsql stable set search_path = '' as $$
begin
  return ('x' || encode(substring(sha256(convert_to(flag || ':' || subject, 'UTF8')) from 1 for 4), 'hex'))::bit(32)::bigint % 100;
end $$;

-- Whether a flag with these values is on for one subject (a person or a project).
create or replace function project_sync.flag_covers(flag text, is_enabled boolean, percentage integer, targets uuid[], subject uuid) returns boolean
language sql stable as $$
  select is_enabled and (percentage >= 100 or subject = any(targets) or project_sync.flag_bucket(flag, subject) < percentage)
$$;

-- Whether a flag is on for one subject. An unknown flag is off.
create or replace function project_sync.flag_is_on(flag text, subject uuid) returns boolean
language plpgsql stable security definer set search_path = '' as $$
begin
  return coalesce((select project_sync.flag_covers(f.flag_key, f.is_enabled, f.rollout_percentage, f.target_user_ids, subject)
    from public.feature_flags f where f.flag_key = flag), false);
end $$;

create or replace function public.is_feature_enabled(flag_key text, user_id uuid default null) returns boolean
language sql stable security definer set search_path = '' as $$
  select project_sync.flag_is_on($1, coalesce($2, project_sync.caller_id()))
$$;
comment on function public.is_feature_enabled(text, uuid) is 'project_sync: whether a flag is on for a person, by default the caller';

select project_sync.grant_functions();
