//! Which directories belong to a workspace.

use std::path::Path;

use serde_json::Value;

use crate::directory::Directory;
use crate::package_json::PackageJson;

/// The largest pnpm-workspace.yaml that is read, in bytes.
const MAX_YAML: u64 = 1 << 20;

/// The patterns of the packages of the workspace at `dir`: those of package.json, and those of pnpm-workspace.yaml. None
/// where `dir` is not the root of a workspace.
pub(super) fn patterns(package: &PackageJson, dir: &Directory) -> Option<Vec<String>> {
    let field = package.field("workspaces");
    let listed = field.and_then(|field| field.get("packages").unwrap_or(field).as_array());
    let yaml = dir.read("pnpm-workspace.yaml", MAX_YAML).ok().flatten();
    let listed_in_yaml = yaml.map(|yaml| yaml_packages(&String::from_utf8_lossy(&yaml)));
    if listed.is_none() && listed_in_yaml.is_none() {
        return None;
    }
    let listed = listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Some(listed.chain(listed_in_yaml.into_iter().flatten()).collect())
}

/// Whether the directory `relative`, which is not the root, belongs to a workspace with these patterns.
pub(super) fn includes(patterns: &[String], relative: &Path) -> bool {
    let parts: Vec<&str> = relative.iter().filter_map(|part| part.to_str()).collect();
    let mut included = false;
    for pattern in patterns {
        let (pattern, wanted) = pattern.strip_prefix('!').map_or((pattern.as_str(), true), |rest| (rest, false));
        let pattern: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if matches(&pattern, &parts) {
            included = wanted;
        }
    }
    included
}

fn matches(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            matches(rest, parts) || parts.split_first().is_some_and(|(_, parts)| matches(pattern, parts))
        }
        (Some((first, rest)), Some((part, parts))) => matches_part(first, part) && matches(rest, parts),
        _ => false,
    }
}

/// `*` stands for any characters, `{a,b}` for one of several.
fn matches_part(pattern: &str, part: &str) -> bool {
    if let Some((before, rest)) = pattern.split_once('{')
        && let Some((choices, after)) = rest.split_once('}')
    {
        return choices.split(',').any(|choice| matches_part(&format!("{before}{choice}{after}"), part));
    }
    match pattern.split_once('*') {
        None => pattern == part,
        Some((start, rest)) => part.strip_prefix(start).is_some_and(|part| {
            // The star takes as little as possible first.
            let ends = part.char_indices().map(|(at, _)| at).chain([part.len()]);
            ends.into_iter().any(|at| part.get(at..).is_some_and(|part| matches_part(rest, part)))
        }),
    }
}

/// The items of the list `packages` of pnpm-workspace.yaml, as pnpm's own documents write it.
fn yaml_packages(yaml: &str) -> Vec<String> {
    let mut lines = yaml.lines().skip_while(|line| !line.starts_with("packages:"));
    let first = lines.next().and_then(|line| line.strip_prefix("packages:")).unwrap_or_default().trim();
    if let Some(inline) = first.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
        return inline.split(',').map(unquoted).filter(|item| !item.is_empty()).collect();
    }
    let items = lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    items.map_while(|line| line.strip_prefix('-')).map(unquoted).collect()
}

fn unquoted(item: &str) -> String {
    let item = item.split(" #").next().unwrap_or(item).trim();
    item.trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_include_and_exclude_directories() {
        let included = |patterns: &[&str], path: &str| {
            includes(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>(), Path::new(path))
        };
        assert!(included(&["apps/*"], "apps/web"));
        assert!(!included(&["apps/*"], "apps/web/deep"));
        assert!(included(&["./packages/**"], "packages/a/b"));
        assert!(included(&["**"], "x/y"));
        assert!(!included(&["apps/*", "!apps/old"], "apps/old"));
        assert!(included(&["{apps,packages}/x-*"], "packages/x-1"));
        assert!(included(&["web"], "web") && !included(&["web"], "website"));
    }

    #[test]
    fn list_of_pnpm_is_read() {
        assert_eq!(
            yaml_packages("packages:\n  - apps/*\n  # more\n  - 'libs/**' # all\n\nonlyBuiltDependencies:\n  - x\n"),
            ["apps/*", "libs/**"]
        );
        assert_eq!(yaml_packages("packages: [\"a\", b/*]\n"), ["a", "b/*"]);
        assert_eq!(yaml_packages("catalog:\n  react: ^19\n"), [""; 0]);
    }
}
