-- Snapshots are zip files of at most 50 MB (contract, section 2). Assets are named by their content hash. Both are private.
do $$
begin
  if to_regclass('storage.buckets') is null then
    raise notice 'no storage schema: no buckets';
    return;
  end if;
  insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
    ('project-snapshots', 'project-snapshots', false, 52428800, array['application/zip', 'application/x-zip-compressed']),
    ('project-assets', 'project-assets', false, 52428800, null)
  on conflict (id) do update set public = false, file_size_limit = excluded.file_size_limit,
    allowed_mime_types = coalesce(excluded.allowed_mime_types, storage.buckets.allowed_mime_types);
end $$;
