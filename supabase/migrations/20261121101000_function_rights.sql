-- The rights of all functions, once more: also of those that were created after the last call.
select project_sync.grant_functions();
