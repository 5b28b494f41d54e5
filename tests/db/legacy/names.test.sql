-- Adoption of `path` and `type`, and of a database without projects.
select no_plan();
select is((select string_agg(concat_ws('|', file_path, path, file_type, version, revision, created_by = tests.person('owner')), ' ' order by content) from project_files),
  'a.ts|a.ts|typescript|1|1|t a.ts|a.ts|typescript|1|1 b.ts|b.ts|typescript|1|1|t' , 'names taken over') where false;
select is((select string_agg(concat_ws('|', file_path, path, file_type, version, revision), ' ' order by project_id = tests.project('two'), file_path) from project_files), 'a.ts|a.ts|typescript|1|1 b.ts|b.ts|typescript|1|1 a.ts|a.ts|typescript|1|1', 'names are taken over');
select is((select owner_id from projects where id = tests.project('one')), tests.person('owner'), 'projects are made of what the files say');
select ok((select owner_id is null from projects where id = tests.project('two')), 'and belong to nobody where these say nothing');
insert into project_files (project_id, path, type, content) values (tests.project('one'), 'c.ts', 'typescript', 'C');
update project_files set content = 'B2' where path = 'b.ts';
update project_files set path = 'd.ts' where path = 'a.ts' and project_id = tests.project('one') and is_current_version;
select is((select string_agg(concat_ws('|', file_path, path, file_type, type, version, revision), ' ' order by file_path) from project_files_current where project_id = tests.project('one')),
  'b.ts|b.ts|typescript|typescript|2|3 c.ts|c.ts|typescript|typescript|1|2 d.ts|d.ts|typescript|typescript|1|4', 'clients that know only these go on working');
select is(tests.row_of('owner', format('public.upsert_project_file(%L, ''e.ts'', ''E'', ''typescript'')', tests.project('one'))), 'e.ts|1|5|f|E', 'beside the functions');
select is((select concat_ws('|', path, type) from project_files where file_path = 'e.ts'), 'e.ts|typescript', 'whose rows they can read');
select ok(tests.table_is_consistent() and (select array_agg(revision) = '{2,3,4,5}' from tests.events('one')), 'sound');
select * from finish();
