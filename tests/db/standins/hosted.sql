-- SIMULATED: the roles and schemas that a hosted Supabase project has, with the rights that `postgres` has there. Run by the
-- superuser of a throw-away server, or of the one that the local backend is given; never part of an installation. On hosted an
-- extension lets `postgres` make policies on realtime.messages and storage.objects: here those two migrations are run by the
-- superuser instead. A server may have some of the roles already, as Debian's has a `postgres`: they stay as they are.
do $$
declare
  made record;
begin
  for made in select * from (values
    ('postgres', 'login nosuperuser createdb createrole replication bypassrls'),
    ('anon', 'nologin noinherit'),
    ('authenticated', 'nologin noinherit'),
    ('service_role', 'nologin noinherit bypassrls'),
    ('authenticator', 'login noinherit'),
    ('supabase_auth_admin', 'nologin noinherit createrole'),
    ('supabase_realtime_admin', 'nologin noinherit'),
    ('supabase_storage_admin', 'nologin noinherit createrole')) roles(name, options)
  loop
    if not exists (select from pg_roles where rolname = made.name) then
      execute format('create role %I %s', made.name, made.options);
    end if;
  end loop;
end $$;
grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres;
-- From 16 on, who has CREATEROLE needs this too to pass roles on, and hosted gives it.
do $$ begin
  if current_setting('server_version_num')::integer >= 160000 then
    grant anon, authenticated, service_role to postgres with admin option;
  end if;
end $$;
