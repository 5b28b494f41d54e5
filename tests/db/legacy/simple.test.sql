-- Adoption of the simpler shape.
select no_plan();
select is((select string_agg(concat_ws('|', file_path, version, coalesce(content, 'stored'), size, left(content_hash, 4), file_type, created_by = tests.person('owner'), metadata->>'kept'), ' ' order by file_path) from project_files),
  'a.ts|1|hello|5|2cf2|text|t|1 b.png|4|stored|77|bbbb|image|t c.txt|7||0|e3b0|text|t', 'hashes recomputed, checksum and size taken, author filled in');
select ok(tests.table_is_consistent() and tests.head('one') = 1, 'revision 1');
select is(tests.row_of('owner', format('public.upsert_project_file(%L, ''a.ts'', ''2'', ''text'', 1)', tests.project('one'))), 'a.ts|2|2|f|2', 'a second version has room');
update project_files set content = 'older', checksum = 'whatever' where file_path = 'c.txt';
select is((select concat_ws('|', version, revision) from project_files_current where file_path = 'c.txt'), '8|3', 'older code updates in place');
select ok(tests.table_is_consistent() and (select count(*) = 2 from tests.events('one')), 'sound');
select * from finish();
