-- Direct writes to the table by people. Row security checks an insert only after the BEFORE triggers, and those lock the
-- project and compare rows. So this trigger fires first: it checks the right, limits the rate, and sets the columns that a
-- person may not choose. `row_security_active` is false inside the SECURITY DEFINER functions, for the service and for owners.

-- Rate limit of direct writes: one token for the first row of a transaction, and one for every 200 rows after it.
create or replace function project_sync.charge_direct_write(project uuid) returns void
language plpgsql as $$
declare
  prefix text := pg_current_xact_id() || ' ' || project || ' ';
  charged text := current_setting('project_sync.charged', true);
  row_number integer := 0;
begin
  perform set_config('project_sync.internal_write', '', true);
  if starts_with(charged, prefix) then
    row_number := substring(charged from length(prefix) + 1)::integer + 1;
  else
    perform project_sync.wait_for_project(project);
  end if;
  if row_number % 200 = 0 then
    perform project_sync.take_tokens(project, project_sync.caller_id(), 1, s.rate_per_second, s.rate_burst) from project_sync.settings s;
  end if;
  perform set_config('project_sync.charged', prefix || row_number, true);
end $$;

create or replace function project_sync.check_direct_insert() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform project_sync.check_write(new.project_id);
  perform project_sync.charge_direct_write(new.project_id);
  new.created_at := now();
  new.updated_at := now();
  return new;
end $$;

create or replace function project_sync.check_direct_update() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- Row security has checked the right to the old row; a row cannot change its project.
  perform project_sync.charge_direct_write(old.project_id);
  new.created_by := old.created_by;
  new.created_at := old.created_at;
  if old.is_current_version or new.is_current_version then
    new.last_modified_by := project_sync.caller_id();
    new.updated_at := now();
  else
    new.last_modified_by := old.last_modified_by;
    new.updated_at := old.updated_at;
    new.file_type := old.file_type;
  end if;
  return new;
end $$;

create or replace function project_sync.check_direct_delete() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform project_sync.charge_direct_write(old.project_id);
  return old;
end $$;
