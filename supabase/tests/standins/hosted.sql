-- SIMULATED: the roles and schemas that a hosted Supabase project has, with the rights that `postgres` has there. Run by the
-- superuser of a throw-away server; never part of an installation. On hosted an extension lets `postgres` make policies on
-- realtime.messages and storage.objects: here those two migrations are run by their tables' owner instead.
create role postgres login nosuperuser createdb createrole replication bypassrls;
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres;
create role supabase_auth_admin nologin noinherit createrole;
create role supabase_realtime_admin nologin noinherit;
create role supabase_storage_admin nologin noinherit createrole;
