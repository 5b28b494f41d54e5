/// A function of the contract's section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    ListProjectChanges,
    ProjectHead,
    GetProjectFile,
    ListCurrentFiles,
    UpsertProjectFile,
    DeleteProjectFile,
    BulkUpsertProjectFiles,
    BulkDeleteProjectFiles,
    RegisterProjectAsset,
    IsFeatureEnabled,
}

/// What a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// Reads; legacy databases do not have it.
    Read,
    /// Reads; legacy databases have it.
    LegacyRead,
    Write,
    Flag,
}

/// The names of a function's arguments.
pub struct Parameters {
    pub required: &'static [&'static str],
    pub optional: &'static [&'static str],
}

impl Function {
    /// Every function.
    pub const ALL: [Function; 10] = [
        Function::ListProjectChanges,
        Function::ProjectHead,
        Function::GetProjectFile,
        Function::ListCurrentFiles,
        Function::UpsertProjectFile,
        Function::DeleteProjectFile,
        Function::BulkUpsertProjectFiles,
        Function::BulkDeleteProjectFiles,
        Function::RegisterProjectAsset,
        Function::IsFeatureEnabled,
    ];

    /// The function with this name.
    pub fn parse(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|function| function.as_str() == name)
    }

    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Function::ListProjectChanges => "list_project_changes",
            Function::ProjectHead => "project_head",
            Function::GetProjectFile => "get_project_file",
            Function::ListCurrentFiles => "list_current_files",
            Function::UpsertProjectFile => "upsert_project_file",
            Function::DeleteProjectFile => "delete_project_file",
            Function::BulkUpsertProjectFiles => "bulk_upsert_project_files",
            Function::BulkDeleteProjectFiles => "bulk_delete_project_files",
            Function::RegisterProjectAsset => "register_project_asset",
            Function::IsFeatureEnabled => "is_feature_enabled",
        }
    }

    pub fn kind(self) -> FunctionKind {
        match self {
            Function::ListProjectChanges | Function::ProjectHead | Function::GetProjectFile => FunctionKind::Read,
            Function::ListCurrentFiles => FunctionKind::LegacyRead,
            Function::UpsertProjectFile
            | Function::DeleteProjectFile
            | Function::BulkUpsertProjectFiles
            | Function::BulkDeleteProjectFiles
            | Function::RegisterProjectAsset => FunctionKind::Write,
            Function::IsFeatureEnabled => FunctionKind::Flag,
        }
    }

    pub fn parameters(self) -> Parameters {
        let (required, optional): (&[&str], &[&str]) = match self {
            Function::ListProjectChanges => (&["project_uuid", "since_revision"], &["max_rows", "with_content"]),
            Function::ProjectHead | Function::ListCurrentFiles => (&["project_uuid"], &[]),
            Function::GetProjectFile => (&["project_uuid", "p_file_path", "p_version"], &[]),
            Function::UpsertProjectFile => {
                (&["project_uuid", "p_file_path", "p_content"], &["p_file_type", "expected_version"])
            }
            Function::DeleteProjectFile => (&["project_uuid", "p_file_path"], &["expected_version"]),
            Function::BulkUpsertProjectFiles => (&["project_uuid", "files"], &[]),
            Function::BulkDeleteProjectFiles => (&["project_uuid", "file_paths"], &[]),
            Function::RegisterProjectAsset => {
                (&["project_uuid", "p_file_path", "p_file_type", "p_content_hash", "p_size"], &["expected_version"])
            }
            Function::IsFeatureEnabled => (&["flag_key"], &["user_id"]),
        };
        Parameters { required, optional }
    }

    /// Whether the function has an argument of this name.
    pub fn has_argument(self, name: &str) -> bool {
        let parameters = self.parameters();
        parameters.required.contains(&name) || parameters.optional.contains(&name)
    }
}
